import type { IndexedTensor } from '@onecopy/safetensors'
import { getOrMake } from './get-or-make.ts'
import { compilePattern } from './pattern.ts'
import type { Policy } from './policy.ts'
import type { NodeDemand, UnitNodes } from './unit-nodes.ts'

/**
 * Merges the units of tensors that the policy keeps together: those that one of its groups matches with the same numbers.
 *
 * @param demands by the place of the tensor that others follow
 * @returns the places of tensors that a group names, by themselves or by one that follows them
 * @throws the error of the nodes for tensors that have to be in different stages
 */
export function mergeTogether(
  together: NonNullable<Policy['together']>,
  tensors: readonly Pick<IndexedTensor, 'name'>[],
  roots: readonly number[],
  demands: readonly (NodeDemand | null)[],
  { groups }: UnitNodes,
): ReadonlySet<number> {
  const named = new Set<number>()
  for (const [at, patterns] of together.entries()) {
    const groupOf = new Map<string, number>() // by the numbers in the names
    for (const [nth, pattern] of patterns.entries()) {
      const compiled = compilePattern(pattern, `together[${at}][${nth}]`)
      for (const [place, { name }] of tensors.entries()) {
        const found = compiled.match(name)
        if (found === null) continue
        const root = roots[place]!
        const { fixed, nodes } = demands[root]!
        if (fixed.length === 0 && nodes.length === 0) continue // pinned
        named.add(root)
        // Of one pattern, layers of different stacks are different ones; several patterns say themselves what belongs together.
        const stack = patterns.length === 1 ? found.stack : ''
        const group = getOrMake(groupOf, `${found.layer},${found.expert},${stack}`, () => groups.add())
        if (nodes.length === 0) groups.fix(group, { stages: fixed, tensor: place })
        for (const node of nodes) groups.merge(group, node)
      }
    }
  }
  return named
}
