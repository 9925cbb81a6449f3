import { quoteName } from '@onecopy/safetensors'
import { PlacementError } from './errors.ts'
import { fieldsOf } from './fields.ts'
import { type Companion, type MeshShape, OBJECTIVES, type Pattern, type Policy, type Stages } from './policy.ts'
import { readPattern, readRule } from './read-rule.ts'

const { array, fail, integer, list, object, oneOf, refuse, string } = fieldsOf('POLICY_INVALID', 'policy')

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
  const rules = list(policy.rules, 'rules', (rule, field) => readRule(rule, field, stageCount), 1)
  refuseContradictions(rules)
  return {
    ...(mesh !== undefined && { mesh }),
    rules,
    ...(policy.companions !== undefined && { companions: list(policy.companions, 'companions', readCompanion) }),
    ...(policy.stages !== undefined && { stages: readStages(policy.stages, stageCount) }),
    ...(policy.together !== undefined && { together: readTogether(policy.together) }),
    ...(policy.tied !== undefined && { tied: readTied(policy.tied) }),
    ...(policy.objective !== undefined && { objective: oneOf(policy.objective, 'objective', OBJECTIVES) }),
  }
}

/** @throws PlacementError POLICY_INVALID naming the field */
export function readMesh(value: unknown): MeshShape {
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
    const text = typeof rule.match === 'string' ? quoteName(rule.match) : `/${rule.match.regex}/`
    const message = `rules[${other}] and rules[${at}] do different things with ${text}: only the first of them would count`
    throw new PlacementError('RULES_CONTRADICT', message, {
      field: `rules[${at}]`,
      candidates: [`rules[${other}]`],
      details: { first: other, second: at, pattern: text },
    })
  }
}

/** A text that two rules share when they do the same, however they were written. */
function meaning({ split, replicate, once, pin, expert, stage }: Policy['rules'][number]): string {
  const splits = [split ?? []]
    .flat()
    .map(({ dimension, axis, blocks = 1, unit, vectors }) => [axis, dimension, blocks, unit, vectors])
  const stages = [stage ?? []].flat().map(String)
  const whole = replicate === true || expert !== undefined
  return JSON.stringify([
    splits.sort(),
    splits.length === 0 && once === undefined && whole,
    once,
    [pin ?? []].flat().sort(),
    expert,
    stages.sort(),
  ])
}

function readCompanion(value: unknown, field: string): Companion {
  const companion = object(value, field, ['match', 'of', 'block', 'along', 'beside'])
  const match = readTemplate(companion.match, `${field}.match`)
  const of = readTemplate(companion.of, `${field}.of`)
  if (match === of) fail(`${field}.of`, of, `another name than ${field}.match: no tensor is its own companion`)
  const { block, along, beside } = companion
  return {
    match,
    of,
    ...(block !== undefined && { block: list(block, `${field}.block`, (size, at) => integer(size, at, 1), 1) }),
    ...(along !== undefined && {
      along: list(along, `${field}.along`, (of, at) => (of === null ? null : integer(of, at, 0)), 1),
    }),
    ...(beside !== undefined && { beside: readTemplate(beside, `${field}.beside`) }),
  }
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
  const layers = list(stages.layers, 'stages.layers', (range, field): readonly [number, number] => {
    const bounds = array(range, field)
    if (bounds.length !== 2) fail(field, range, '[begin, end]')
    const begin = integer(bounds[0], `${field}[0]`, 0)
    return [begin, integer(bounds[1], `${field}[1]`, begin)]
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
  return list(value, 'together', (group, field) => list(group, field, readPattern, 1))
}

function readTied(value: unknown): readonly (readonly string[])[] {
  const seen = new Set<string>()
  const readName = (one: unknown, field: string): string => {
    const name = string(one, field)
    if (seen.has(name)) fail(field, name, 'in one group only, once')
    seen.add(name)
    return name
  }
  return list(value, 'tied', (group, field) => list(group, field, readName, 2))
}
