import { type IndexedTensor, quoteName } from '@onecopy/safetensors'
import type { Assignment, ReadyRule } from './assign-rules.ts'
import type { Choice } from './choice.ts'
import { compilePattern } from './pattern.ts'
import { type Cutting, isColumnOfBytes } from './pieces.ts'
import type { Policy, SplitAxis } from './policy.ts'

/** What a plan was made from, and what came of it. */
export interface Planned {
  readonly tensors: readonly IndexedTensor[]
  readonly rules: readonly ReadyRule[]
  readonly assignments: readonly Assignment[]
  readonly cuttings: readonly Cutting[]
  readonly policy: Policy
  readonly choice: Choice
  /** For each worker how many tensors it holds something of. */
  readonly held: readonly number[]
  /** Whether it is known if GPTQ has used activation order. */
  readonly knowsOrder: boolean
}

/** Names in one notice: enough to see what they have in common. */
const MAX_NAMED = 20

/** What the plan itself does not show, and whoever made the policy may not have meant: a sentence each. */
export function noticesOf(planned: Planned): readonly string[] {
  return [
    ...unmatched(planned),
    ...uncut(planned),
    ...withoutExperts(planned),
    ...emptyWorkers(planned),
    ...quantised(planned),
    ...packed(planned),
  ]
}

/** Entries of the policy that nothing came of. */
function unmatched({ tensors, rules, assignments, policy: { together = [], tied = [] } }: Planned): string[] {
  const entryOf = ({ rule, text }: ReadyRule) => rule.entry ?? text
  const matched = new Set(assignments.flatMap(({ rule }) => (rule === null ? [] : [entryOf(rule)])))
  const names = new Set(tensors.map(({ name }) => name))
  const none = new Set<string>()
  const overruled = new Set<string>()
  const late = new Set<string>()
  for (const ready of rules) {
    const entry = entryOf(ready)
    if (matched.has(entry)) continue
    if (!tensors.some(({ name }) => ready.pattern.match(name) !== null)) {
      none.add(entry)
      continue
    }
    overruled.add(entry)
    // That nothing is left for a rule that leaves things whole is no surprise.
    if (ready.rule.replicate === undefined) late.add(entry)
  }
  for (const entry of overruled) none.delete(entry)
  for (const [at, patterns] of together.entries()) {
    for (const [nth, pattern] of patterns.entries()) {
      const { match } = compilePattern(pattern, '')
      if (![...names].some((name) => match(name) !== null)) none.add(`together[${at}][${nth}]`)
    }
  }
  for (const [at, group] of tied.entries()) if (!group.some((name) => names.has(name))) none.add(`tied[${at}]`)
  return [
    ...(none.size > 0 ? [`No tensor matches ${listed([...none])}`] : []),
    ...(late.size > 0 ? [`Rules before them take all that is matched by ${listed([...late])}`] : []),
  ]
}

/** Axes along which everything is the same. */
function uncut({ tensors, cuttings, assignments, choice: { mesh } }: Planned): string[] {
  const axes = (['tp', 'ep'] as const).filter((axis) => {
    const isCut = ({ cuts, expertAt }: Cutting) =>
      cuts.some((cut) => cut.axis === axis) || (axis === 'ep' && expertAt !== null)
    return mesh.size[axis] > 1 && tensors.length > 0 && !cuttings.some(isCut)
  })
  // Where everything is pinned, the mesh says only how many there are.
  if (assignments.every(({ rule }) => rule?.rule.pin !== undefined)) return []
  return axes.map((axis: SplitAxis) => {
    return `No tensor is cut along ${axis}: all ${mesh.size[axis]} positions along it hold the same`
  })
}

function emptyWorkers({ choice, held, tensors }: Planned): string[] {
  const { workers, size } = choice.mesh
  const empty = workers.filter((_, worker) => held[worker] === 0).map(({ name }) => quoteName(name))
  const stages = new Set(choice.stageOf)
  const without = Array.from({ length: size.pp }, (_, stage) => stage).filter((stage) => !stages.has(stage))
  const notices: string[] = []
  if (choice.stageOf.length > 0 && without.length > 0) {
    const which = without.length === 1 ? `stage ${without[0]} gets` : `stages ${listed(without.map(String))} get`
    const parts = choice.stageOf.length === 1 ? 'one layer' : `${choice.stageOf.length} layers`
    notices.push(`There are ${parts} for ${size.pp} stages: ${which} none`)
  }
  if (empty.length > 0 && tensors.length > 0) {
    notices.push(`${empty.length} of ${workers.length} workers stay empty: ${listed(empty)}`)
  }
  return notices
}

function withoutExperts({ cuttings, choice: { mesh } }: Planned): string[] {
  const filled = new Set(cuttings.flatMap(({ expertAt }) => expertAt ?? []))
  if (filled.size === 0 || filled.size === mesh.size.ep) return []
  return [`${mesh.size.ep - filled.size} of ${mesh.size.ep} positions along ep have no expert`]
}

/** What names and shapes do not tell of quantised weights. */
function quantised({ tensors, assignments, cuttings, knowsOrder }: Planned): string[] {
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]))
  const grouped: string[] = []
  const columns: string[] = []
  for (const [place, tensor] of tensors.entries()) {
    const assignment = assignments[place]!
    if (isColumnOfBytes(tensor) && assignment.rule !== null && cuttings[place]!.cuts.length > 0)
      columns.push(tensor.name)
    if (knowsOrder || assignment.rule !== null || !tensor.name.endsWith('.g_idx')) continue
    const owner = tensors[assignment.owner]!.name
    const groups = byName.get(owner.replace(/qweight$/, 'scales'))?.shape[0] ?? 1
    if (cuttings[place]!.cuts.length > 0 && groups > 1) grouped.push(owner)
  }
  return [
    ...(grouped.length > 0
      ? [
          `The inputs of ${someOf(grouped)} are cut with their scales, which is right only if GPTQ was made without desc_act, which is not known: give the config.json, whose quantization_config says so`,
        ]
      : []),
    ...(columns.length > 0
      ? [
          `The columns of bytes of bitsandbytes in ${someOf(columns)} are cut into equal runs, which is right only where their number divides the outputs`,
        ]
      : []),
  ]
}

/** Names of what several matrices were put into, one behind the other. */
const FUSED = /(?:^|[._])(?:qkv|qkvz|gate_up|query_key_value|W_pack|c_attn|up_gate)(?:_proj)?(?:\.|$)/i

/** What is cut as one matrix, but has the name of several. */
function packed({ tensors, assignments, cuttings }: Planned): string[] {
  const names = tensors.flatMap(({ name }, place) => {
    const rule = assignments[place]!.rule?.rule
    if (rule === undefined || !FUSED.test(name)) return []
    const asOne = [rule.split ?? []].flat().some(({ axis, dimension, blocks, unit }) => {
      const isCut = cuttings[place]!.cuts.some((cut) => cut.axis === axis)
      return isCut && axis === 'tp' && dimension !== 1 && dimension !== -1 && blocks === undefined && unit === undefined
    })
    return asOne ? [name] : []
  })
  if (names.length === 0) return []
  return [
    `By their names, several matrices are packed into ${someOf(names)}, which are cut as if they were one: unless all outputs are put together again, say blocks`,
  ]
}

function someOf(names: readonly string[]): string {
  return quoteName(names[0]!) + (names.length > 1 ? ` and ${names.length - 1} more` : '')
}

function listed(names: readonly string[]): string {
  const more = names.length > MAX_NAMED ? ` and ${names.length - MAX_NAMED} more` : ''
  return names.slice(0, MAX_NAMED).join(', ') + more
}
