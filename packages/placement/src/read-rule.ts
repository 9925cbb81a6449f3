import { fieldsOf } from './fields.ts'
import { compilePattern } from './pattern.ts'
import { type Pattern, PREFIX, type Rule, type Split, type StageChoice } from './policy.ts'

const { fail, integer, list, object, oneOf, refuse, string } = fieldsOf('POLICY_INVALID', 'policy')

/** Flags that change nothing about a pattern: it is always compiled with `u`, and asked about whole names. */
const HARMLESS_FLAGS = /^[du]*$/

/**
 * @param stageCount stages of the mesh
 * @throws PlacementError POLICY_INVALID naming the field
 */
export function readRule(value: unknown, field: string, stageCount: number): Rule {
  const rule = object(value, field, ['match', 'split', 'replicate', 'once', 'pin', 'expert', 'stage', 'entry'])
  const pattern = patternOf(rule.match, `${field}.match`)
  const ending = typeof pattern === 'string' && pattern.startsWith(PREFIX) ? pattern.slice(PREFIX.length) : pattern
  const compiled = compilePattern(ending, `${field}.match`)
  if (rule.replicate !== undefined && rule.replicate !== true) {
    fail(`${field}.replicate`, rule.replicate, 'true, or left out')
  }
  const kinds = (['split', 'replicate', 'once', 'pin'] as const).filter((kind) => rule[kind] !== undefined)
  if (kinds.length > 1 || (kinds.length === 0 && rule.expert === undefined)) {
    const said = kinds.length === 0 ? 'none of split, replicate, once, pin and expert' : kinds.join(' and ')
    refuse(field, `says ${said}: it must say exactly one of split, replicate, once and pin, or expert`)
  }
  if (rule.expert !== undefined) {
    oneOf(rule.expert, `${field}.expert`, ['ep'])
    if (rule.pin !== undefined) fail(`${field}.expert`, rule.expert, 'left out where pin says which workers')
    if (!compiled.captures.expert) {
      fail(`${field}.expert`, rule.expert, `left out, since ${compiled.text} captures no {expert}`)
    }
  }
  if (rule.stage !== undefined && rule.pin !== undefined) {
    fail(`${field}.stage`, rule.stage, 'left out where pin says which workers')
  }
  const split =
    rule.split === undefined ? undefined : readSplits(rule.split, `${field}.split`, rule.expert !== undefined)
  return {
    match: pattern,
    ...(split !== undefined && { split }),
    ...(rule.replicate !== undefined && { replicate: true as const }),
    ...(rule.once !== undefined && { once: oneOf(rule.once, `${field}.once`, ['tp']) }),
    ...(rule.pin !== undefined && { pin: readPin(rule.pin, `${field}.pin`) }),
    ...(rule.expert !== undefined && { expert: 'ep' as const }),
    ...(rule.stage !== undefined && { stage: readStage(rule.stage, `${field}.stage`, stageCount) }),
    ...(rule.entry !== undefined && { entry: string(rule.entry, `${field}.entry`) }),
  }
}

/**
 * A pattern from JSON, or a RegExp object.
 *
 * @throws PlacementError POLICY_INVALID naming the field
 */
export function readPattern(value: unknown, field: string): Pattern {
  const pattern = patternOf(value, field)
  compilePattern(pattern, field)
  return pattern
}

function patternOf(value: unknown, field: string): Pattern {
  if (typeof value === 'string') return value
  if (Object.prototype.toString.call(value) === '[object RegExp]') {
    const { source, flags } = value as RegExp
    if (!HARMLESS_FLAGS.test(flags)) fail(field, `/${source}/${flags}`, 'a regular expression without flags but u')
    return { regex: source }
  }
  if (typeof value !== 'object') fail(field, value, 'a glob, or an object with a regex')
  return { regex: string(object(value, field, ['regex']).regex, `${field}.regex`) }
}

function readSplits(value: unknown, field: string, byExpert: boolean): Split | readonly Split[] {
  if (!Array.isArray(value)) return readSplit(value, field, byExpert)
  const splits = list(value, field, (split, at) => readSplit(split, at, byExpert), 1)
  for (const [at, { axis, dimension }] of splits.entries()) {
    for (const before of splits.slice(0, at)) {
      if (before.axis === axis) fail(`${field}[${at}].axis`, axis, 'another axis than that of the split before')
      if (before.dimension === dimension) {
        fail(`${field}[${at}].dimension`, dimension, 'another dimension than that of the split before')
      }
    }
  }
  return splits
}

function readSplit(value: unknown, field: string, byExpert: boolean): Split {
  const split = object(value, field, ['dimension', 'axis', 'blocks', 'unit', 'vectors'])
  const axis = oneOf(split.axis, `${field}.axis`, ['tp', 'ep'])
  if (byExpert && axis === 'ep') fail(`${field}.axis`, axis, '"tp", since the rule places by expert along ep already')
  if (split.vectors !== undefined && split.vectors !== true) {
    fail(`${field}.vectors`, split.vectors, 'true, or left out')
  }
  return {
    dimension: integer(split.dimension, `${field}.dimension`, Number.MIN_SAFE_INTEGER),
    axis,
    ...(split.blocks !== undefined && { blocks: readBlocks(split.blocks, `${field}.blocks`) }),
    ...(split.unit !== undefined && { unit: split.unit === null ? null : integer(split.unit, `${field}.unit`, 1) }),
    ...(split.vectors !== undefined && { vectors: true as const }),
  }
}

function readBlocks(value: unknown, field: string): number | readonly number[] {
  if (!Array.isArray(value)) return integer(value, field, 1)
  return list(value, field, (size, at) => integer(size, at, 1), 1)
}

function readPin(value: unknown, field: string): string | readonly string[] {
  if (!Array.isArray(value)) return string(value, field)
  const workers = list(value, field, string, 1)
  const twin = workers.findIndex((worker, at) => workers.indexOf(worker) < at)
  if (twin !== -1) fail(`${field}[${twin}]`, workers[twin], 'named once')
  return workers
}

function readStage(value: unknown, field: string, stageCount: number): StageChoice | readonly StageChoice[] {
  if (!Array.isArray(value)) return readStageChoice(value, field, stageCount)
  return list(value, field, (choice, at) => readStageChoice(choice, at, stageCount), 1)
}

function readStageChoice(value: unknown, field: string, stageCount: number): StageChoice {
  if (typeof value === 'number') return integer(value, field, 0, stageCount - 1)
  if (typeof value !== 'string') return fail(field, value, '"first", "last", "auto" or the number of a stage')
  return oneOf(value, field, ['first', 'last', 'auto'] as const)
}
