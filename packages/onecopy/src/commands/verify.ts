import { type Checkpoint, openCheckpoint, openHeaders } from '@onecopy/checkpoint'
import type { Source } from '../option-values.ts'
import { errorCode, NAMES_A_LIMIT } from '../terminal/error-message.ts'
import { print } from '../terminal/print.ts'
import { printable } from '../terminal/printable.ts'
import { ProgressBar } from '../terminal/progress-bar.ts'
import { styleOf } from '../terminal/style.ts'
import { factLines } from '../terminal/table.ts'
import { displayName, printableJson } from '../terminal/text.ts'
import { formatBytes, formatCount, formatMs, formatRate } from '../terminal/units.ts'
import { BlobCheck, checkBlob } from './blob-check.ts'
import { type CheckpointSummary, readIndexOf, summarize } from './checkpoint-summary.ts'
import { hashTensors, type TensorHash } from './deep-read.ts'
import { assertAllNumbers, folderNotes } from './verify-folder.ts'
import { advisoryNotes } from './verify-notes.ts'
import { CHECKS, type Check, checkOf } from './verify-stages.ts'

/** The options of `onecopy verify`. */
export interface VerifyOptions {
  readonly json?: boolean
  readonly deep?: boolean
  readonly variant?: string
  readonly prefer?: 'index' | 'single'
}

/** One check and what came of it; `ok` is null for a check that an earlier failure kept from running. */
interface CheckResult {
  readonly check: Check
  readonly ok: boolean | null
  readonly detail: string
}

interface VerifyResult {
  readonly source: string
  readonly ok: boolean
  readonly checks: readonly CheckResult[]
  readonly notes: readonly string[]
  readonly error: { readonly code: string; readonly message: string } | null
  /** The checksums of `--deep`, in file order. */
  readonly tensors: readonly TensorHash[] | null
}

/** Fewer bytes than this say nothing about speed. */
const MIN_RATED_BYTES = 2 ** 20

/** Runs all checks on a checkpoint and prints what came of each; false when one failed. */
export async function verify(source: Source, options: VerifyOptions): Promise<boolean> {
  const result = await check(source, options)
  if (options.json) process.stdout.write(`${printableJson(result)}\n`)
  else print(reportLines(result))
  return result.ok
}

async function check(source: Source, { deep = false, variant, prefer }: VerifyOptions): Promise<VerifyResult> {
  const wanted = CHECKS.filter((name) => deep || name !== 'bytes')
  let passed: readonly CheckResult[] = []
  let notes: readonly string[] = []
  let checkpoint: Checkpoint | undefined
  try {
    // Whether this process can map the files says nothing about them.
    const open = deep ? openCheckpoint : openHeaders
    checkpoint = await open(source, { ...(variant && { variant }), ...(prefer && { prefer }) })
    const summary = summarize(checkpoint)
    const index = await readIndexOf(checkpoint)
    notes = [...advisoryNotes(summary, index), ...(await folderNotes(summary, index !== null))]
    assertAllNumbers(summary, index !== null)
    passed = openedChecks(summary, index !== null)
    const read = deep ? await readEverything(checkpoint, index !== null) : null
    const checks = read === null ? passed : [...passed, read.result]
    return { source: checkpoint.label, ok: true, checks, notes, error: null, tensors: read?.hashes ?? null }
  } catch (error) {
    const code = errorCode(error)
    if (code === null || !(error instanceof Error)) throw error
    const failed = passed.length > 0 ? 'bytes' : checkpoint === undefined ? checkOf(error) : 'index'
    const checks = wanted.map((name): CheckResult => {
      if (name === failed) return { check: name, ok: false, detail: `${error.message} (${code})` }
      const before = wanted.indexOf(name) < wanted.indexOf(failed)
      const known = passed.find((result) => result.check === name)
      return known ?? { check: name, ok: before ? true : null, detail: before ? 'no fault found' : 'not checked' }
    })
    const label = checkpoint?.label ?? [source].flat().join(' ')
    return { source: label, ok: false, checks, notes, error: { code, message: error.message }, tensors: null }
  } finally {
    checkpoint?.close()
  }
}

/** What an opened checkpoint has passed: everything is checked before anything is mapped. */
function openedChecks(summary: CheckpointSummary, hasIndex: boolean): CheckResult[] {
  const { shards, tensorCount, fileByteLength } = summary
  const files = formatCount(shards.length, 'shard')
  const agreement = hasIndex
    ? `${formatCount(tensorCount, 'tensor')}: each in the shard that the index names, and none that it does not name`
    : shards.length > 1
      ? 'no index; no tensor is in two shards'
      : 'a single file needs no index'
  return [
    { check: 'files', ok: true, detail: `${files}${hasIndex ? ' and a shard index' : ''}` },
    {
      check: 'headers',
      ok: true,
      detail: `${formatCount(tensorCount, 'tensor')}: dtypes, shapes and offsets fit; no gap, no overlap, no trailing byte`,
    },
    { check: 'index', ok: true, detail: agreement },
    { check: 'mapping', ok: true, detail: `${formatBytes(fileByteLength)}; every file is as long as its header says` },
  ]
}

async function readEverything(
  checkpoint: Checkpoint,
  hasIndex: boolean,
): Promise<{ result: CheckResult; hashes: readonly TensorHash[] }> {
  const bar = new ProgressBar('reading', checkpoint.byteLength)
  const started = performance.now()
  try {
    const blobs = await BlobCheck.of(checkpoint)
    if (hasIndex) await checkBlob(checkpoint.label)
    const hashes = await hashTensors(checkpoint, (doneBytes) => bar.update(doneBytes), blobs)
    const ms = performance.now() - started
    // The rate of a few kilobytes would be that of the calls around them.
    const rate = checkpoint.byteLength < MIN_RATED_BYTES ? '' : ` (${formatRate(checkpoint.byteLength, ms)})`
    const same = blobs.fileCount === 0 ? '' : '; every file is what its name in the Hugging Face cache says'
    const detail = `${formatBytes(checkpoint.byteLength)} read and hashed in ${formatMs(ms)}${rate}${same}`
    return { result: { check: 'bytes', ok: true, detail }, hashes }
  } finally {
    bar.end()
  }
}

function reportLines({ source, ok, checks, notes, error, tensors }: VerifyResult): string[] {
  const { bold, dim, good, bad } = styleOf(process.stdout)
  const mark = (result: CheckResult): string => (result.ok === null ? dim('–') : result.ok ? good('✓') : bad('✗'))
  const lines = factLines(checks.map(({ check, detail }) => [check, printable(detail)]))
  const hashes = tensors?.map(({ name, sha256 }) => `${sha256}  ${displayName(name)}`) ?? []
  return [
    bold(printable(source)),
    '',
    ...lines.map((line, at) => `${mark(checks[at]!)} ${line}`),
    ...notes.map((note) => `${dim('·')} ${printable(note)}`),
    '',
    ...(hashes.length === 0 ? [] : [dim('sha256 of each tensor'), ...hashes, '']),
    ok ? good('The checkpoint is sound.') : bad(failedVerdict(error)),
  ]
}

function failedVerdict(error: VerifyResult['error']): string {
  const { code = '', message = '' } = error ?? {}
  if (/^(SOURCE|HUB)_/.test(code)) return 'There is nothing to verify.'
  const isOurs = /^(MAP|SEAL)_FAILED$/.test(code) || NAMES_A_LIMIT.test(message)
  return isOurs ? 'This process could not check everything.' : 'The checkpoint is not sound.'
}
