import { open, rm, stat, writeFile } from 'node:fs/promises'
import { CommandError } from '../errors.ts'
import type { Source } from '../option-values.ts'
import { print } from '../terminal/print.ts'
import { styleOf } from '../terminal/style.ts'
import { printableJson } from '../terminal/text.ts'
import { measureAttach } from './bench/attach.ts'
import { startBenchCoordinator } from './bench/bench-coordinator.ts'
import { measureColdStart } from './bench/cold-start.ts'
import { describeEnvironment } from './bench/environment.ts'
import { SPREAD_LIMIT } from './bench/figures.ts'
import { Programs } from './bench/programs.ts'
import { reportHtml } from './bench/report-html.ts'
import { reportLines } from './bench/report-lines.ts'
import { type BenchResult, GROUPS, type Group } from './bench/result.ts'
import { measureSharing } from './bench/sharing.ts'
import { openSubject, type Subject, type SubjectOptions } from './bench/subject.ts'
import { TemporaryFolder } from './temporary-folder.ts'

/** The options of `onecopy bench`. */
export interface BenchOptions extends SubjectOptions {
  readonly trials: number
  readonly readers: number
  readonly only?: readonly Group[]
  readonly json?: boolean
  /** Where the report goes as a page. */
  readonly html?: string
}

/** Measures a checkpoint on this machine, and prints the figures. */
export async function bench(source: Source, options: BenchOptions): Promise<void> {
  const { json = false, html } = options
  // Before anything takes minutes.
  if (html !== undefined) await assertWritable(html)
  const subject = await openSubject(source, options)
  try {
    const result = await measure(subject, options)
    if (json) process.stdout.write(`${printableJson(result)}\n`)
    else print(reportLines(result, styleOf(process.stdout)))
    if (html !== undefined) await writeFile(html, reportHtml(result)).catch((cause) => unwritable(html, cause))
  } finally {
    subject.checkpoint.close()
  }
}

async function measure(subject: Subject, options: BenchOptions): Promise<BenchResult> {
  const { trials, readers, only = GROUPS, limit } = options
  const { checkpoint, selection, shards } = subject
  const { label, byteLength, tensorCount } = checkpoint
  const environment = describeEnvironment(shards[0]!.path)
  const date = new Date().toISOString()
  const folder = new TemporaryFolder('onecopy-bench-')
  try {
    const setting = { subject, programs: new Programs(folder), trials, readers }
    const coldStart = only.includes('cold-start') ? await measureColdStart(setting) : null
    const further = only.includes('attach') || only.includes('sharing')
    const coordinator = further ? await startBenchCoordinator(setting) : null
    const attach = coordinator && only.includes('attach') ? await measureAttach(setting, coordinator) : null
    const sharing = coordinator && only.includes('sharing') ? await measureSharing(setting, coordinator) : null
    return {
      command: 'onecopy bench',
      date,
      label,
      byteLength,
      tensorCount,
      shardCount: checkpoint.shards.length,
      wholeByteLength: subject.wholeByteLength,
      wholeTensorCount: subject.wholeTensorCount,
      limitBytes: selection === null ? null : limit!,
      trials,
      spreadLimit: SPREAD_LIMIT,
      environment,
      coldStart,
      attach,
      sharing,
    }
  } finally {
    folder.remove()
  }
}

/** Leaves no file behind that was not there. */
async function assertWritable(path: string): Promise<void> {
  try {
    const exists = await stat(path).then(
      () => true,
      () => false,
    )
    if (exists) await (await open(path, 'r+')).close()
    else await (await open(path, 'wx')).close()
    if (!exists) await rm(path)
  } catch (cause) {
    unwritable(path, cause)
  }
}

function unwritable(path: string, cause: unknown): never {
  const reason = cause instanceof Error ? cause.message : String(cause)
  throw new CommandError('BENCH_REPORT_UNWRITABLE', `Cannot write the report "${path}": ${reason}`, { cause })
}
