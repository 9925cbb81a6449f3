import { quoteName } from '@onecopy/safetensors'
import type { Assignment, ReadyRule } from './assign-rules.ts'
import { PlacementError } from './errors.ts'
import { nearestHint } from './fields.ts'
import { nearest } from './nearest.ts'
import type { Topology } from './topology.ts'

const NOT_PINNED: readonly number[] = []

/**
 * The workers that tensors are pinned to, as positions in the topology, rising.
 *
 * @param roots for each tensor the one that it follows in the end
 * @returns for each tensor; nothing for those that are not pinned
 * @throws PlacementError WORKER_UNKNOWN with the nearest names, whether or not the rule matches any tensor
 */
export function pinnedWorkers(
  assignments: readonly Assignment[],
  roots: readonly number[],
  rules: readonly ReadyRule[],
  { workers }: Topology,
): readonly (readonly number[])[] {
  const places = new Map(workers.map(({ name }, place) => [name, place]))
  const pinned = new Map<ReadyRule, readonly number[]>()
  for (const ready of rules) {
    if (ready.rule.pin === undefined) continue
    const names = [ready.rule.pin].flat()
    const found = names.map((name, nth) => {
      const place = places.get(name)
      if (place !== undefined) return place
      const field = Array.isArray(ready.rule.pin) ? `${ready.field}.pin[${nth}]` : `${ready.field}.pin`
      const candidates = nearest(name, places.keys())
      const message = `${ready.text} pins to worker ${quoteName(name)}, which there is not${nearestHint(candidates)}`
      throw new PlacementError('WORKER_UNKNOWN', message, { worker: name, field, candidates })
    })
    pinned.set(
      ready,
      found.sort((a, b) => a - b),
    )
  }
  return roots.map((root) => pinned.get(assignments[root]!.rule!) ?? NOT_PINNED)
}
