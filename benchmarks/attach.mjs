// @ts-check
import { join } from 'node:path'
import { sparseDeepSeek, sparseLlama } from './checkpoints.mjs'
import { bySize } from './harness/benchmark.mjs'
import { interleave } from './harness/interleave.mjs'
import { Program, withPrograms } from './harness/program.mjs'
import { findPython } from './harness/python.mjs'
import { Collector } from './harness/result.mjs'
import { numbersOf, runNodeTrial, runTrial, sinceStart, trialPath } from './harness/trial.mjs'

/** @typedef {import('./checkpoints.mjs').MadeCheckpoint} MadeCheckpoint */
/** @typedef {import('./harness/result.mjs').Figure} Figure */

/** @type {import('./harness/benchmark.mjs').Benchmark} */
export const attach = {
  name: 'attach',
  claim:
    'A further process or thread gets all weights in little more than its own start, however many were there before',
  run,
}

/** What a further thread or process may take beyond its own start, in milliseconds. */
const LIMITS_MS = { thread: 5, process: 25 }

/** @param {import('./harness/benchmark.mjs').RunOptions} options */
async function run(options) {
  const { size, scratch } = options
  const collector = new Collector()
  const { python, reason } = await findPython(['safetensors', 'numpy'], options)
  if (python === null) collector.notMeasured('Python safetensors, import and open', reason)
  const checkpoints = [
    await sparseLlama(scratch, bySize(size, { tiny: 1, short: 32, full: 32 })),
    await sparseDeepSeek(scratch, bySize(size, { tiny: { layers: 4, experts: 4, shards: 5 }, short: {}, full: {} })),
  ]
  const counts = bySize(size, { tiny: [0, 1], short: [0, 8], full: [0, 1, 2, 4, 8, 16, 32] })
  const rounds = bySize(size, { tiny: 2, short: 20, full: 100 })
  const socket = join(scratch.temporary, 'coordinator', 'onecopy.sock')
  const coordinator = await Program.start('coordinator.mjs', { socket })
  /** @type {Figure[]} */
  const beyond = []
  await withPrograms([coordinator], async () => {
    for (const checkpoint of checkpoints) {
      const name = `tensors-${checkpoint.tensors}`
      await coordinator.ask({ name, folder: checkpoint.folder })
      for (const before of counts) {
        options.log(`${checkpoint.tensors} tensors, ${before} before`)
        const rival = before === 0 ? python : null
        beyond.push(
          await measureProcesses(collector, checkpoint, { socket, name, before, rounds, python: rival }),
          await measureThreads(collector, checkpoint, { before, rounds }),
        )
      }
    }
  })
  draw(collector, counts, beyond)
  if (size !== 'tiny') hold(collector, checkpoints[1]?.tensors ?? 0, counts, beyond)
  collector.note('Beyond its own start: the difference to a bare process or thread of the same round.')
  collector.note(`p99 is the largest of ${rounds} samples where there are fewer than a hundred.`)
  return collector.findings
}

/**
 * @param {Collector} collector
 * @param {MadeCheckpoint} checkpoint
 * @param {{ socket: string, name: string, before: number, rounds: number, python: import('./harness/python.mjs').Python | null }} options
 */
async function measureProcesses(collector, { folder, tensors }, { socket, name, before, rounds, python }) {
  const attaching = { socket, checkpoint: name }
  const there = await Promise.all(
    Array.from({ length: before }, () => Program.start('attach-and-stay.mjs', { ...attaching })),
  )
  const contenders = [
    { id: 'bare', measure: async () => ({ ms: sinceStart(await runNodeTrial('bare.mjs', null)) }) },
    {
      id: 'onecopy',
      measure: async () => {
        const trial = await runNodeTrial('attach.mjs', { ...attaching, tensors })
        return { ...numbersOf(trial), ms: sinceStart(trial) }
      },
    },
  ]
  if (python !== null) {
    const args = [trialPath('rivals/python_open.py'), JSON.stringify({ folder, tensors })]
    contenders.push({ id: 'python', measure: async () => ({ ms: sinceStart(await runTrial(python.command, args)) }) })
  }
  const samples = await withPrograms(there, () => interleave(contenders, { trials: rounds }))
  const beyond = record(
    collector,
    'process',
    { tensors, before },
    {
      bare: samples('bare', 'ms'),
      ours: samples('onecopy', 'ms'),
      weights: samples('onecopy', 'attachMs'),
    },
  )
  if (python !== null) {
    const rival = collector.figure(
      {
        id: `process.${tensors}.after-${before}.python`,
        label: `${tensors} tensors: process, from its start through import and open`,
        subject: `Python safetensors ${python.packages['safetensors']}`,
        unit: 'ms',
        pageCache: 'warm',
      },
      samples('python', 'ms'),
    )
    collector.ratio(`${tensors} tensors: start, import and open in Python ÷ start and attach`, rival, beyond.whole)
  }
  return beyond.difference
}

/**
 * @param {Collector} collector
 * @param {MadeCheckpoint} checkpoint
 * @param {{ before: number, rounds: number }} options
 */
async function measureThreads(collector, { folder, tensors }, { before, rounds }) {
  const argument = { folder, threads: before, rounds, warmUps: 1 }
  const { report } = await runNodeTrial('attach-threads.mjs', argument)
  const { bare, ours, take } = /** @type {{ bare: number[], ours: number[], take: number[] }} */ (report)
  return record(collector, 'thread', { tensors, before }, { bare, ours, weights: take }).difference
}

/**
 * @param {Collector} collector
 * @param {'process' | 'thread'} kind
 * @param {{ tensors: number, before: number }} at
 * @param {{ bare: number[], ours: number[], weights: number[] }} samples of the same rounds
 */
function record(collector, kind, { tensors, before }, { bare, ours, weights }) {
  const id = `${kind}.${tensors}.after-${before}`
  const what = `${tensors} tensors, ${before} before: further ${kind}`
  /** @param {string} part @param {string} label @param {string} subject @param {number[]} samples */
  const figure = (part, label, subject, samples) =>
    collector.figure({ id: `${id}.${part}`, label, subject, unit: 'ms', pageCache: 'warm' }, samples)
  figure('bare', `${what}, from its start`, kind === 'process' ? 'bare Node.js' : 'bare Worker', bare)
  const whole = figure('onecopy', `${what}, from its start until it has the weights`, 'onecopy', ours)
  figure('weights', `${what}, the weights alone when the library is loaded`, 'onecopy', weights)
  const differences = ours.map((ms, at) => ms - (bare[at] ?? 0))
  return { whole, difference: figure('beyond', `${what}, beyond its own start`, 'onecopy', differences) }
}

/**
 * @param {Collector} collector
 * @param {readonly number[]} counts
 * @param {readonly Figure[]} beyond
 */
function draw(collector, counts, beyond) {
  const names = [...new Set(beyond.map(({ id }) => id.replace(/\.after-.*/, '')))]
  collector.chart({
    id: 'attach',
    title: 'A further process or thread, beyond its own start',
    x: { label: 'processes or threads that were there before', values: [...counts] },
    y: { label: 'p50', unit: 'ms' },
    series: names.map((name) => ({
      name: name.replace('.', ', ').concat(' tensors'),
      values: counts.map((count) => find(beyond, `${name}.after-${count}.beyond`)?.median ?? null),
    })),
  })
}

/**
 * The worst of all numbers of those that were there before is held against the limit.
 *
 * @param {Collector} collector
 * @param {number} tensors
 * @param {readonly number[]} counts
 * @param {readonly Figure[]} beyond
 */
function hold(collector, tensors, counts, beyond) {
  for (const kind of /** @type {const} */ (['thread', 'process'])) {
    const figures = counts.flatMap((count) => find(beyond, `${kind}.${tensors}.after-${count}.beyond`) ?? [])
    const worst = figures.reduce((a, b) => (b.median > a.median ? b : a))
    const text = `a further ${kind} has ${tensors} tensors ≤ ${LIMITS_MS[kind]} ms beyond its own start`
    collector.target(text, { ours: worst, value: worst.median, atMost: LIMITS_MS[kind] })
  }
}

/** @param {readonly Figure[]} figures @param {string} id */
function find(figures, id) {
  return figures.find((figure) => figure.id === id)
}
