// @ts-check
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { processMemory } from 'onecopy'
import { dense } from './checkpoints.mjs'
import { bySize } from './harness/benchmark.mjs'
import { interleave } from './harness/interleave.mjs'
import { Program, withPrograms } from './harness/program.mjs'
import { Collector } from './harness/result.mjs'

/** @type {import('./harness/benchmark.mjs').Benchmark} */
export const sharing = {
  name: 'sharing',
  claim: 'Readers that have read everything occupy one copy of the weights together, however many they are',
  run,
}

/** What a process may occupy beside the weights: Node.js itself and its heaps. */
const PROCESS_BYTES = 40_000_000
const TARGET_READERS = 8

/** Of the memory that is there now, what copies may take: others need some. */
const COPY_SHARE = 0.5

/**
 * @typedef {object} Way how a number of readers is put up
 * @property {string} id
 * @property {string} label
 * @property {boolean} copies
 * @property {(readers: number) => { processes: number, threads: number } | null} spread threads in each; 0: its main thread
 */

/** @type {readonly Way[]} */
const WAYS = [
  { id: 'threads', label: 'threads of one process', copies: false, spread: inThreads },
  { id: 'processes', label: 'attached processes', copies: false, spread: inProcesses },
  { id: 'mixed', label: 'attached processes of two threads', copies: false, spread: inPairs },
  { id: 'copy-threads', label: 'threads of one process', copies: true, spread: inThreads },
  { id: 'copy-processes', label: 'processes', copies: true, spread: inProcesses },
]

/** @param {number} readers */
function inThreads(readers) {
  return { processes: 1, threads: readers }
}

/** @param {number} readers */
function inProcesses(readers) {
  return { processes: readers, threads: 0 }
}

/** @param {number} readers */
function inPairs(readers) {
  return readers % 2 === 0 ? { processes: readers / 2, threads: 2 } : null
}

/** @param {import('./harness/benchmark.mjs').RunOptions} options */
async function run({ size, scratch, log }) {
  const collector = new Collector()
  const tensorMib = bySize(size, { tiny: 4, short: 64, full: 64 })
  const tensors = bySize(size, { tiny: 4, short: 8, full: 16 })
  const shape = [tensorMib * 512, 1024]
  const checkpoint = await dense(scratch, { name: 'sharing', dtype: 'BF16', shape, tensors, shards: 4 })
  const counts = bySize(size, { tiny: [1, 2], short: [1, 8], full: [1, 2, 4, 8, 16] })
  const trials = bySize(size, { tiny: 1, short: 10, full: 10 })
  const socket = join(scratch.temporary, 'coordinator', 'onecopy.sock')
  const coordinator = await Program.start('coordinator.mjs', { socket }, { nodeOptions: ['--expose-gc'] })
  /** @type {Map<string, import('./harness/result.mjs').Figure>} */
  const figures = new Map()
  await withPrograms([coordinator], async () => {
    await coordinator.ask({ name: 'weights', folder: checkpoint.folder })
    for (const readers of counts) {
      log(`${readers} readers of ${checkpoint.byteLength} bytes`)
      const contenders = WAYS.flatMap((way) => {
        const spread = way.spread(readers)
        if (spread === null) return []
        const needed = way.copies ? readers * checkpoint.byteLength : 0
        const room = availableBytes() * COPY_SHARE
        if (needed > room) {
          const reason = `${needed} bytes are more than half of the memory that is free now (${room} bytes)`
          collector.notMeasured(`${readers} ${way.label} with a copy each`, reason)
          return []
        }
        const owner = way.copies || way.id === 'threads' ? null : coordinator
        const measure = () => measureOnce({ ...spread, way, folder: checkpoint.folder, socket, owner })
        return [{ id: way.id, measure, way }]
      })
      const samples = await interleave(contenders, { trials, warmUps: 0 })
      for (const { id, way } of contenders) {
        const figure = collector.figure(
          {
            id: `${id}.${readers}`,
            label: `Σ Pss of ${readers} ${way.label}`,
            subject: way.copies ? 'a copy each (readFile in Node.js)' : 'onecopy',
            unit: 'bytes',
            pageCache: 'warm',
          },
          samples(id, 'pssBytes'),
        )
        figures.set(figure.id, figure)
        if (!way.copies) {
          collector.figure(
            {
              id: `${id}.${readers}.weights`,
              label: `Σ Pss of the weights alone ÷ checkpoint, ${readers} ${way.label}`,
              subject: 'onecopy',
              unit: 'ratio',
              pageCache: 'warm',
            },
            samples(id, 'weightBytes').map((bytes) => bytes / checkpoint.byteLength),
          )
        }
      }
      compare(collector, figures, readers)
    }
  })
  draw(collector, counts, figures)
  hold(collector, figures, checkpoint.byteLength)
  collector.note(
    `The checkpoint has ${checkpoint.byteLength} bytes; every reader has read a byte of each of its pages.`,
  )
  collector.note(
    'Node.js itself and the coordinator are in the sums. Pages that nobody has mapped (page cache) are not.',
  )
  return collector.findings
}

/**
 * Puts readers up, waits until all have read everything, and sums what they and the coordinator occupy.
 *
 * @param {{ way: Way, processes: number, threads: number, folder: string, socket: string, owner: Program | null }} options
 * @returns {Promise<Record<string, number>>}
 */
async function measureOnce({ way, processes, threads, folder, socket, owner }) {
  const program = way.copies ? 'rivals/copy-reader.mjs' : 'share-reader.mjs'
  const argument = { folder, threads, name: 'weights', socket: owner === null ? null : socket }
  /** @type {Program[]} */
  const readers = []
  try {
    const starting = Array.from({ length: processes }, () =>
      Program.start(program, argument, { nodeOptions: ['--expose-gc'] }),
    )
    const started = await Promise.allSettled(starting)
    for (const outcome of started) if (outcome.status === 'fulfilled') readers.push(outcome.value)
    for (const outcome of started) if (outcome.status === 'rejected') throw outcome.reason
    assertSame(readers)
    const pids = [...readers, ...(owner === null ? [] : [owner])].map(({ pid }) => pid)
    return {
      pssBytes: pids.reduce((sum, pid) => sum + processMemory(pid).pssBytes, 0),
      weightBytes: pids.reduce((sum, pid) => sum + mappedPssBytes(pid, folder), 0),
    }
  } finally {
    await Promise.all(readers.map((reader) => reader.stop()))
  }
}

/**
 * What a process occupies with mappings of files of a folder.
 *
 * @param {number} pid
 * @param {string} folder
 */
function mappedPssBytes(pid, folder) {
  let inside = false
  let sum = 0
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) inside = line.includes(folder)
    else if (inside) sum += Number(/^Pss: +(\d+) kB$/.exec(line)?.[1] ?? 0) * 1024
  }
  return sum
}

/** @param {readonly Program[]} readers must have read the same, each in each of its threads */
function assertSame(readers) {
  const sums = readers.flatMap(({ ready }) => ready.sums ?? [])
  if (new Set(sums).size > 1) throw new Error(`Readers of one checkpoint read different bytes: ${sums}`)
}

/**
 * @param {Collector} collector
 * @param {ReadonlyMap<string, import('./harness/result.mjs').Figure>} figures
 * @param {number} readers
 */
function compare(collector, figures, readers) {
  for (const id of ['threads', 'processes']) {
    const [ours, rival] = [figures.get(`${id}.${readers}`), figures.get(`copy-${id}.${readers}`)]
    if (ours && rival) collector.ratio(`Σ Pss, a copy each ÷ onecopy, ${readers} ${id}`, rival, ours)
  }
}

/**
 * @param {Collector} collector
 * @param {readonly number[]} counts
 * @param {ReadonlyMap<string, import('./harness/result.mjs').Figure>} figures
 */
function draw(collector, counts, figures) {
  collector.chart({
    id: 'sharing',
    title: 'Memory of all readers together',
    x: { label: 'readers', values: [...counts] },
    y: { label: 'Σ Pss', unit: 'bytes' },
    series: WAYS.map(({ id, label, copies }) => ({
      name: copies ? `${label}, a copy each` : label,
      values: counts.map((count) => figures.get(`${id}.${count}`)?.median ?? null),
    })),
  })
}

/**
 * @param {Collector} collector
 * @param {ReadonlyMap<string, import('./harness/result.mjs').Figure>} figures
 * @param {number} byteLength
 */
function hold(collector, figures, byteLength) {
  const [ours, rival] = [figures.get(`processes.${TARGET_READERS}`), figures.get(`copy-processes.${TARGET_READERS}`)]
  if (ours === undefined) return
  const beside = (TARGET_READERS + 1) * PROCESS_BYTES // the coordinator too
  const text = 'Σ Pss of 8 processes ÷ checkpoint ≤ 1.02, with 40 MB for each process and the coordinator'
  const value = (ours.median - beside) / byteLength
  collector.target(text, rival ? { ours, rival, value, atMost: 1.02 } : { ours, value, atMost: 1.02 })
}

function availableBytes() {
  const kib = /^MemAvailable: +(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]
  return Number(kib) * 1024
}
