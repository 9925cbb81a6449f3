// A process that reads a checkpoint: reader.mjs <JSON of { path } or of attach's options, with { threads }>. It reads in
// its main thread, or in the threads of a pool.
import { setTimeout as sleep } from 'node:timers/promises'
import { openCheckpoint } from '@onecopy/checkpoint'
import { attach, createWorkerPool } from '@onecopy/client'
import { answer } from './answer.mjs'
import { checksum } from './checksum.mjs'

/** Between two tensors, so that many readers leave the machine some air. */
const PAUSE_MS = 2

const { path, threads = 0, ...options } = JSON.parse(process.argv[2] ?? '{}')
const checkpoint = path === undefined ? await attach(options) : await openCheckpoint(path)
const pool = threads === 0 ? null : await startPool()

/** @type {number[]} Versions that were announced. */
const announced = []
checkpoint.on('version', ({ version }) => announced.push(version))

let reads = 0
/** @type {string | null} The first wrong or failed read. */
let failure = null

answer({
  version: () => checkpoint.version,
  checksums: (names = checkpoint.names) => checksumsOf(names),
  announced: () => announced,
  latestChecksums: async () => Object.fromEntries([...(await checkpoint.followLatest()).tensors()].map(named)),
  checksumsInThreads: () => inEveryThread('checksumTensors'),
  watch: (expected) => void watch(expected),
  watched: () => ({ reads, failure }),
})

async function startPool() {
  return createWorkerPool({
    checkpoint,
    filename: new URL('./checksum-tensors.mjs', import.meta.url),
    minThreads: threads,
    maxThreads: threads,
    workerData: { threads, arrived: new SharedArrayBuffer(4) },
  })
}

/** @param {import('@onecopy/checkpoint').TensorView} view */
function named(view) {
  return [view.name, checksum(view)]
}

/** @param {string} task */
async function inEveryThread(task) {
  return Promise.all(Array.from({ length: threads }, () => pool?.run(null, { name: task })))
}

/** @param {string} name */
async function read(name) {
  return pool === null ? checksum(checkpoint.tensor(name)) : pool.run(name)
}

/** @param {readonly string[]} names */
async function checksumsOf(names) {
  /** @type {Record<string, unknown>} */
  const checksums = {}
  for (const name of names) checksums[name] = await read(name)
  return checksums
}

/**
 * Reads everything again and again, and stops at the first read that fails or gives something else than was expected.
 * @param {Record<string, string>} expected
 */
async function watch(expected) {
  while (failure === null) {
    for (const [name, wanted] of Object.entries(expected)) {
      try {
        const found = await read(name)
        if (found !== wanted) failure ??= `${name} has checksum ${found}, it must have ${wanted}`
      } catch (error) {
        failure ??= `${name}: ${error}`
      }
      reads++
      await sleep(PAUSE_MS)
    }
  }
}
