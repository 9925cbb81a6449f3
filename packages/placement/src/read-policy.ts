import { PlacementError } from './errors.ts'
import { fieldsOf } from './fields.ts'
import { compilePattern } from './pattern.ts'
import type { Companion, MeshShape, Objective, Pattern, Policy, Stages } from './policy.ts'
import { readPattern, readRule } from './read-rule.ts'

const { array, fail, integer, object, oneOf, refuse, string } = fieldsOf('POLICY_INVALID', 'policy')

const OBJECTIVES: readonly Objective[] = ['balanced', 'min-peak', 'sequential', 'sticky']

/** What one mesh size may be at most: beyond any cluster, and small enough that four of them multiply exactly. */
const MAX_AXIS_SIZE = 8192

/**
 * Checks a policy that may come from JSON. Where a pattern is meant, a RegExp object is taken too.
 *
 * @returns it as plain data, without the fields that are undefined, and with nothing filled in
 * @throws PlacementError POLICY_INVALID naming the field; RULES_CONTRADICT for two rules that do different things with
 * the same pattern, the second of which would never be asked
 */
export function readPolicy(value: unknown): Policy {
  const policy = object(value, '', ['mesh', 'rules', 'companions', 'stages', 'together', 'tied', 'objective'])
  const mesh = policy.mesh === undefined ? undefined : readMesh(policy.mesh)
  const stageCount = mesh?.pp ?? 1
  const rules = array(policy.rules, 'rules', 1).map((rule, at) => readRule(rule, `rules[${at}]`, stageCount))
  refuseContradictions(rules)
  return {
    ...(mesh !== undefined && { mesh }),
    rules,
    ...(policy.companions !== undefined && {
      companions: array(policy.companions, 'companions').map((one, at) => readCompanion(one, `companions[${at}]`)),
    }),
    ...(policy.stages !== undefined && { stages: readStages(policy.stages, stageCount) }),
    ...(policy.together !== undefined && { together: readTogether(policy.together) }),
    ...(policy.tied !== undefined && { tied: readTied(policy.tied) }),
    ...(policy.objective !== undefined && { objective: oneOf(policy.objective, 'objective', OBJECTIVES) }),
  }
}

function readMesh(value: unknown): MeshShape {
  const axes = ['pp', 'tp', 'ep', 'replicas'] as const
  const mesh = object(value, 'mesh', axes)
  const sizes: { [K in (typeof axes)[number]]?: number } = {}
  for (const axis of axes) {
    if (mesh[axis] !== undefined) sizes[axis] = integer(mesh[axis], `mesh.${axis}`, 1, MAX_AXIS_SIZE)
  }
  return sizes
}

function refuseContradictions(rules: Policy['rules']): void {
  const first = new Map<string, number>()
  for (const [at, rule] of rules.entries()) {
    const pattern = JSON.stringify(rule.match)
    const other = first.get(pattern)
    if (other === undefined) {
      first.set(pattern, at)
      continue
    }
    if (meaning(rule) === meaning(rules[other]!)) continue
    const { text } = compilePattern(rule.match, `rules[${at}].match`)
    const message = `rules[${other}] and rules[${at}] do different things with ${text}: only the first of them would count`
    throw new PlacementError('RULES_CONTRADICT', message, {
      field: `rules[${at}]`,
      candidates: [`rules[${other}]`],
      details: { first: other, second: at, pattern: text },
    })
  }
}

/** A text that two rules share when they do the same, however they were written. */
function meaning({ split, replicate, pin, expert, stage }: Policy['rules'][number]): string {
  const splits = [split ?? []]
    .flat()
    .map(({ dimension, axis, blocks = 1, unit = 1 }) => [axis, dimension, blocks, unit])
  const stages = [stage ?? []].flat().map(String)
  const whole = replicate === true || expert !== undefined
  return JSON.stringify([splits.sort(), splits.length === 0 && whole, [pin ?? []].flat().sort(), expert, stages.sort()])
}

function readCompanion(value: unknown, field: string): Companion {
  const companion = object(value, field, ['match', 'of', 'block'])
  const match = readTemplate(companion.match, `${field}.match`)
  const of = readTemplate(companion.of, `${field}.of`)
  if (match === of) fail(`${field}.of`, of, `another name than ${field}.match: no tensor is its own companion`)
  if (companion.block === undefined) return { match, of }
  const block = array(companion.block, `${field}.block`, 1)
  return { match, of, block: block.map((size, at) => integer(size, `${field}.block[${at}]`, 1)) }
}

/** A name with one `{name}` in it; nothing else in it has a meaning. */
function readTemplate(value: unknown, field: string): string {
  const template = string(value, field)
  const rest = template.split('{name}')
  if (rest.length !== 2) fail(field, template, 'a name with {name} in it exactly once')
  if (/[*{}]/.test(rest.join(''))) fail(field, template, 'plain text around {name}, without globs')
  return template
}

function readStages(value: unknown, stageCount: number): Stages {
  const stages = object(value, 'stages', ['layers'])
  if (stages.layers === undefined) return {}
  const layers = array(stages.layers, 'stages.layers').map((range, at): readonly [number, number] => {
    const bounds = array(range, `stages.layers[${at}]`)
    if (bounds.length !== 2) fail(`stages.layers[${at}]`, range, '[begin, end]')
    const begin = integer(bounds[0], `stages.layers[${at}][0]`, 0)
    return [begin, integer(bounds[1], `stages.layers[${at}][1]`, begin)]
  })
  if (layers.length !== stageCount) {
    fail('stages.layers', layers, `one range for each of the ${stageCount} stages of the mesh`)
  }
  for (const [at, [begin, end]] of layers.entries()) {
    const other = layers.slice(0, at).findIndex(([from, to]) => Math.max(begin, from) < Math.min(end, to))
    if (other === -1) continue
    refuse(`stages.layers[${at}]`, `has layers of stages.layers[${other}]: each layer must be in one stage only`)
  }
  return { layers }
}

function readTogether(value: unknown): readonly (readonly Pattern[])[] {
  return array(value, 'together').map((group, at) =>
    array(group, `together[${at}]`, 1).map((pattern, nth) => readPattern(pattern, `together[${at}][${nth}]`).pattern),
  )
}

function readTied(value: unknown): readonly (readonly string[])[] {
  const seen = new Set<string>()
  return array(value, 'tied').map((group, at) =>
    array(group, `tied[${at}]`, 2).map((one, nth) => {
      const name = string(one, `tied[${at}][${nth}]`)
      if (seen.has(name)) fail(`tied[${at}][${nth}]`, name, 'in one group only, once')
      seen.add(name)
      return name
    }),
  )
}
