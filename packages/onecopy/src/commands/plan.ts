import { readFile } from 'node:fs/promises'
import { Plan, type PlanDiff, planPlacement } from '@onecopy/placement'
import { CommandError } from '../errors.ts'
import type { Source } from '../option-values.ts'
import { print } from '../terminal/print.ts'
import { printable } from '../terminal/printable.ts'
import { styleOf } from '../terminal/style.ts'
import { printableJson } from '../terminal/text.ts'
import { GLOB_HINT, nameFilter } from './name-filter.ts'
import { diffLines, explanationLines, type PlanNames, planLines } from './plan/plan-lines.ts'
import { readIndex } from './plan/read-index.ts'
import { type PlanSettings, policyOf, topologyOf } from './plan/read-settings.ts'

/** The options of `onecopy plan`. */
export interface PlanOptions extends PlanSettings {
  readonly json?: boolean
  /** A glob, or true for the decisions alone. */
  readonly explain?: string | true
  /** A file with an earlier plan. */
  readonly diff?: string
  readonly variant?: string
  readonly prefer?: 'index' | 'single'
}

/** Plans which worker gets which tensors and slices, and prints it: a table for people, the plan itself for programs. */
export async function plan(source: Source, options: PlanOptions): Promise<void> {
  const previous = options.diff === undefined ? null : await readPlan(options.diff)
  const planned = await readIndex(source, options)
  const { policy, origin, config } = await policyOf(planned, options)
  const topology = await topologyOf(policy, options)
  const result = planPlacement({ index: planned.index, config }, topology, policy)
  const diff = previous === null ? null : result.diff(previous)
  if (!options.json) return print(linesOf(result, diff, { label: planned.label, origin }, options))
  // Alone, this is a file for --diff and for `Plan.parse`, of which notices are no part.
  process.stdout.write(`${diff === null ? printable(result.toString()) : printableJson(diff)}\n`)
  for (const notice of result.notices) process.stderr.write(`onecopy: ${printable(notice)}\n`)
}

function linesOf(result: Plan, diff: PlanDiff | null, names: PlanNames, { explain }: PlanOptions): string[] {
  const style = styleOf(process.stdout)
  const lines =
    explain === undefined
      ? planLines(result, names, style)
      : explanationLines(result, names, explanationOf(result, explain), style)
  return diff === null ? lines : [...lines, '', ...diffLines(diff, style)]
}

function explanationOf(result: Plan, glob: string | true): string {
  if (glob === true) return result.explain()
  const tensors = nameFilter(glob)
  const matches = result.data.tensors.some(({ name }) => tensors(name))
  const text = result.explain({ tensors })
  return matches ? text : `${text}\nNo tensor matches ${JSON.stringify(glob)}: ${GLOB_HINT}\n`
}

async function readPlan(path: string): Promise<Plan> {
  const text = await readFile(path, 'utf8').catch((cause) => {
    throw new CommandError('FILE_INVALID', `Cannot read the plan "${path}": ${cause.message}`, { cause })
  })
  return Plan.parse(text)
}
