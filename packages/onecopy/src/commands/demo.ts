import { freemem, tmpdir } from 'node:os'
import { setImmediate } from 'node:timers/promises'
import type { Checkpoint } from '@onecopy/checkpoint'
import type { Source } from '../option-values.ts'
import { print } from '../terminal/print.ts'
import { ProgressBar } from '../terminal/progress-bar.ts'
import { styleOf } from '../terminal/style.ts'
import { printableJson } from '../terminal/text.ts'
import { assertRoomFor, generateCheckpoint } from './demo/generate.ts'
import { chooseMatrix, productHash } from './demo/matrix-vector.ts'
import { type MemoryReading, readMemory } from './demo/memory-reading.ts'
import { type OpenedWeights, openWeights, type WeightsOptions } from './demo/open-weights.ts'
import { hashFiles } from './demo/plain-read.ts'
import { reportLines } from './demo/report.ts'
import { type DemoResult, differingTensors, figuresOf, isRight } from './demo/result.ts'
import { runProcesses } from './demo/run-processes.ts'
import { runThreads } from './demo/run-threads.ts'
import { TemporaryFolder } from './temporary-folder.ts'

/** The options of `onecopy demo`. */
export interface DemoOptions extends WeightsOptions {
  readonly threads: number
  readonly size: number // bytes
  readonly keep?: boolean
  readonly json?: boolean
}

/** Runs the demo and prints what came of it; false when a thread or process saw anything else than what is in the files. */
export async function demo(source: Source | undefined, options: DemoOptions): Promise<boolean> {
  if (source !== undefined) return show(await measure(source, null, options), options)
  assertRoomFor(options.size, tmpdir())
  const folder = new TemporaryFolder('onecopy-demo-')
  try {
    const started = performance.now()
    await generateCheckpoint(folder, options.size)
    const generateMs = performance.now() - started
    const result = await measure(folder.path, generateMs, options)
    if (options.keep) folder.keep()
    else folder.remove()
    return show(result, options)
  } catch (error) {
    folder.remove()
    throw error
  }
}

function show(result: DemoResult, { json = false }: DemoOptions): boolean {
  if (json) process.stdout.write(`${printableJson(figuresOf(result))}\n`)
  else print(reportLines(result, styleOf(process.stdout)))
  return [...result.threads, ...result.processes].every((reader) => isRight(reader, result))
}

async function measure(source: Source, generateMs: number | null, options: DemoOptions): Promise<DemoResult> {
  const memoryBefore = readMemory()
  const weights = await openWeights(source, options)
  try {
    return { ...(await read(weights, memoryBefore, options)), generateMs, origin: originOf(generateMs, options) }
  } finally {
    await weights.close()
  }
}

function originOf(generateMs: number | null, { keep = false }: DemoOptions): DemoResult['origin'] {
  return generateMs === null ? 'given' : keep ? 'generated and kept' : 'generated'
}

async function read(
  { checkpoint, openMs, publish, withoutProcesses }: OpenedWeights,
  memoryBefore: MemoryReading,
  { threads: threadCount, processes: processCount }: DemoOptions,
): Promise<Omit<DemoResult, 'origin' | 'generateMs'>> {
  const { residentBytes } = checkpoint.residency()
  const prefetchMs = await bringIn(checkpoint, residentBytes)
  const memoryOpened = readMemory()
  const matrix = chooseMatrix(checkpoint)
  const matrixName = matrix?.name ?? null
  const attachPoint = await publish()
  const { threads, memoryReady, memoryRead, meanwhile } = await runThreads(checkpoint, threadCount, matrixName, () =>
    attachPoint === null ? NO_PROCESSES : runProcesses(attachPoint, processCount, checkpoint, matrixName),
  )
  const fileHashes = await withBar('comparing with the files', checkpoint.byteLength, (onProgress) =>
    hashFiles(checkpoint, onProgress),
  )
  let parameterCount = 0
  for (const { elementCount } of checkpoint.tensors()) parameterCount += elementCount
  return {
    label: checkpoint.label,
    backing: checkpoint.backing,
    shardCount: checkpoint.shards.length,
    tensorCount: checkpoint.tensorCount,
    parameterCount,
    byteLength: checkpoint.byteLength,
    openMs,
    residentBytes,
    prefetchMs,
    matrix: matrix && { name: matrix.name, dtype: matrix.dtype, shape: matrix.shape },
    memoryBefore,
    memoryOpened,
    memoryReady,
    memoryRead,
    threads,
    ...meanwhile,
    withoutProcesses,
    fileHashes,
    productHash: matrix && (await productHash(matrix, setImmediate)),
    differing: differingTensors(checkpoint.names, fileHashes, [...threads, ...meanwhile.processes]),
  }
}

const NO_PROCESSES = Promise.resolve({ processes: [], memoryTogether: null })

/** Above this share of a checkpoint in RAM, the rest is left to the threads. */
const RESIDENT_ENOUGH = 0.9

/**
 * Reads what is not in RAM, the fast way: threads that touch page after page would take twice as long on a disk. Not
 * where it would push itself out again.
 * @returns how long it took, or null when there was nothing to do
 */
async function bringIn(checkpoint: Checkpoint, residentBytes: number | null): Promise<number | null> {
  const { byteLength } = checkpoint
  if (residentBytes === null || residentBytes >= byteLength * RESIDENT_ENOUGH || byteLength > freemem()) return null
  const started = performance.now()
  await withBar('reading', byteLength, (update) =>
    checkpoint.prefetch({ onProgress: ({ doneBytes }) => update(doneBytes) }),
  )
  return performance.now() - started
}

async function withBar<T>(
  title: string,
  totalBytes: number,
  work: (update: (doneBytes: number) => void) => Promise<T>,
): Promise<T> {
  const bar = new ProgressBar(title, totalBytes)
  try {
    return await work((doneBytes) => bar.update(doneBytes))
  } finally {
    bar.end()
  }
}
