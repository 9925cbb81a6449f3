// @ts-check
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { dense } from './checkpoints.mjs'
import { bySize } from './harness/benchmark.mjs'
import { Load } from './harness/load.mjs'
import { Program, withPrograms } from './harness/program.mjs'
import { Collector } from './harness/result.mjs'

/** @typedef {import('./harness/load.mjs').Answered} Answered */

/** @type {import('./harness/benchmark.mjs').Benchmark} */
export const swap = {
  name: 'swap',
  claim: 'A service moves to a new version while it answers: no request fails, and the worst one waits little longer',
  run,
}

const CLIENTS = 4
/** Between an answer and the client's next request: the service is busy, and not drowned. */
const PAUSE_MS = 3
/** A swap that takes longer has failed. */
const PATIENCE_MS = 30_000
const POLL_MS = 1

/**
 * @typedef {object} Cycle
 * @property {number} quietWorstMs the slowest request of a window without a swap
 * @property {number} swapWorstMs the slowest request of a window as long that begins with publishing
 * @property {number} quietMedianMs
 * @property {number} publishMs until the coordinator had published
 * @property {number} switchedMs from publishing until the first answer from the new version
 * @property {number} failed requests without an answer, or with one from elsewhere
 * @property {number} requests
 */

/** @param {import('./harness/benchmark.mjs').RunOptions} options */
async function run({ size, scratch, log }) {
  const collector = new Collector()
  const backings = bySize(size, { tiny: ['file'], short: ['file'], full: ['file', 'sealed'] })
  const services = bySize(size, { tiny: 1, short: 2, full: 5 })
  const swaps = bySize(size, { tiny: 2, short: 8, full: 20 })
  const windowMs = bySize(size, { tiny: 200, short: 800, full: 800 })
  const shape = bySize(size, { tiny: [2 ** 14], short: [2 ** 16], full: [2 ** 16] })
  const make = (/** @type {string} */ name) => dense(scratch, { name, dtype: 'F32', shape, tensors: 64, shards: 2 })
  const folders = [(await make('swap-a')).folder, (await make('swap-b')).folder]
  for (const backing of backings) {
    /** @type {Cycle[]} */
    const cycles = []
    for (let service = 0; service < services; service++) {
      log(`${backing} backing, service ${service + 1} of ${services}, ${swaps} swaps`)
      const place = join(scratch.temporary, `coordinator-${backing}-${service}`)
      cycles.push(...(await measureService({ socket: join(place, 'onecopy.sock'), folders, backing, swaps, windowMs })))
    }
    report(collector, backing, cycles, windowMs)
    if (size !== 'tiny') hold(collector, backing)
  }
  collector.note(
    `examples/swap-server with two threads, asked by ${CLIENTS} clients that wait ${PAUSE_MS} ms after each answer; ` +
      'clients, service and coordinator share the cores.',
  )
  collector.note('Page cache: warm. The first swap of every service is a warm-up and not counted.')
  return collector.findings
}

/**
 * @param {{ socket: string, folders: readonly string[], backing: string, swaps: number, windowMs: number }} options
 * @returns {Promise<Cycle[]>}
 */
async function measureService({ socket, folders, backing, swaps, windowMs }) {
  const coordinator = await Program.start('coordinator.mjs', { socket })
  return withPrograms([coordinator], async () => {
    const publish = (/** @type {number} */ number) =>
      coordinator.ask({ name: 'weights', folder: folders[number % folders.length], backing })
    await publish(0)
    const service = await Program.start('swap-service.mjs', { socket, checkpoint: 'weights' })
    return withPrograms([service], async () => {
      const load = new Load(`${service.ready.url}/answer`, { clients: CLIENTS, pauseMs: PAUSE_MS })
      try {
        /** @type {Cycle[]} */
        const cycles = []
        for (let number = 1; number <= swaps + 1; number++) {
          const cycle = await measureSwap(load, () => publish(number), windowMs)
          if (number > 1) cycles.push(cycle)
        }
        return cycles
      } finally {
        await load.stop()
      }
    })
  })
}

/**
 * @param {Load} load
 * @param {() => Promise<number>} publish
 * @param {number} windowMs
 * @returns {Promise<Cycle>}
 */
async function measureSwap(load, publish, windowMs) {
  load.take()
  await sleep(windowMs)
  const quiet = load.take()
  const started = performance.now()
  const version = await publish()
  const publishMs = performance.now() - started
  /** @type {Answered[]} */
  const during = []
  /** @type {Answered | undefined} */
  let first
  while (first === undefined || performance.now() - started < windowMs) {
    if (performance.now() - started > PATIENCE_MS) throw new Error(`Nobody answered from version ${version}`)
    const answers = load.take()
    first ??= answers.find(({ body }) => body?.version === version)
    during.push(...answers)
    await sleep(POLL_MS)
  }
  const durations = quiet.map(({ startedMs, endedMs }) => endedMs - startedMs).sort((a, b) => a - b)
  const known = [version - 1, version]
  return {
    quietWorstMs: worst(quiet),
    swapWorstMs: worst(during),
    quietMedianMs: durations[Math.floor(durations.length / 2)] ?? 0,
    publishMs,
    switchedMs: first.endedMs - started,
    failed: [...quiet, ...during].filter(({ body }) => !known.includes(body?.version)).length,
    requests: quiet.length + during.length,
  }
}

/** @param {readonly Answered[]} answers */
function worst(answers) {
  return Math.max(...answers.map(({ startedMs, endedMs }) => endedMs - startedMs))
}

/**
 * @param {Collector} collector
 * @param {string} backing
 * @param {readonly Cycle[]} cycles
 * @param {number} windowMs
 */
function report(collector, backing, cycles, windowMs) {
  /** @param {keyof Cycle} key @param {string} label @param {'ms' | 'count'} [unit] */
  const figure = (key, label, unit = 'ms') => {
    const about = { id: `${backing}.${key}`, label: `${backing} backing: ${label}`, subject: 'onecopy', unit }
    return collector.figure(
      { ...about, pageCache: 'warm' },
      cycles.map((cycle) => cycle[key]),
    )
  }
  figure('publishMs', 'publish() until the version is ready')
  figure('switchedMs', 'publish() until the first answer from the new version')
  figure('quietMedianMs', 'median request without a swap')
  const quiet = figure('quietWorstMs', `worst request in ${windowMs} ms without a swap`)
  const during = figure('swapWorstMs', `worst request in the ${windowMs} ms after publish()`)
  collector.ratio(`${backing} backing: worst request with a swap ÷ without`, during, quiet)
  figure('requests', 'requests in both windows', 'count')
  figure('failed', 'failed requests in both windows', 'count')
}

/** @param {Collector} collector @param {string} backing */
function hold(collector, backing) {
  const ours = collector.findings.figures.find(({ id }) => id === `${backing}.failed`)
  if (ours === undefined) return
  const value = ours.samples.reduce((sum, count) => sum + count, 0)
  collector.target(`publish a new version under load, ${backing} backing: 0 failed requests`, {
    ours,
    value,
    atMost: 0,
  })
}
