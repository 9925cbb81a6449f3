// @ts-check
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { writeCheckpoint } from './checkpoints.mjs'
import { bySize } from './harness/benchmark.mjs'
import { exponentOf, findBend } from './harness/curve.mjs'
import { interleave } from './harness/interleave.mjs'
import { Program, withPrograms } from './harness/program.mjs'
import { Collector } from './harness/result.mjs'
import { numbersOf, runNodeTrial } from './harness/trial.mjs'

/** @typedef {import('./harness/result.mjs').Figure} Figure */
/** @typedef {import('./harness/interleave.mjs').Contender} Contender */

/** @type {import('./harness/benchmark.mjs').Benchmark} */
export const scale = {
  name: 'scale',
  claim:
    'Opening costs at most in proportion to tensors and shards, and the same for any number of bytes; attaching costs the ' +
    'same for any number of clients',
  run,
}

/**
 * @typedef {object} Axis what grows, while the rest stays
 * @property {string} id
 * @property {readonly number[]} values
 * @property {(value: number) => { tensors: number, shards: number, bytes: number }} checkpoint
 */

const DECADES = [100, 1000, 10_000, 100_000, 1_000_000]
const HALVES = [316, 3162, 31_623, 316_228]
const GB = 10 ** 9

/** @param {import('./harness/result.mjs').Size} size @returns {Axis[]} */
function axes(size) {
  const ascending = (/** @type {number[]} */ values) => values.sort((a, b) => a - b)
  return [
    {
      id: 'tensors',
      values: bySize(size, { tiny: [32, 320], short: DECADES, full: ascending([...DECADES, ...HALVES]) }),
      checkpoint: (tensors) => ({
        tensors,
        shards: 16,
        bytes: bySize(size, { tiny: GB, short: 1000 * GB, full: 1000 * GB }),
      }),
    },
    {
      id: 'shards',
      values: bySize(size, { tiny: [1, 10], short: [1, 10, 100, 1000], full: [1, 3, 10, 32, 100, 316, 1000] }),
      checkpoint: (shards) => ({
        tensors: bySize(size, { tiny: 100, short: 10_000, full: 10_000 }),
        shards,
        bytes: bySize(size, { tiny: GB, short: 1000 * GB, full: 1000 * GB }),
      }),
    },
    {
      id: 'bytes',
      values: bySize(size, { tiny: [1, 10], short: [1, 10, 100, 1000, 10_000], full: [1, 10, 100, 1000, 10_000] }).map(
        (count) => count * GB,
      ),
      checkpoint: (bytes) => ({ tensors: bySize(size, { tiny: 16, short: 1000, full: 1000 }), shards: 8, bytes }),
    },
  ]
}

/** @param {import('./harness/benchmark.mjs').RunOptions} options */
async function run({ size, scratch, log }) {
  const collector = new Collector()
  const rounds = bySize(size, { tiny: { trials: 2, warmUps: 0 }, short: { trials: 10 }, full: { trials: 20 } })
  const socket = join(scratch.temporary, 'coordinator', 'onecopy.sock')
  const coordinator = await Program.start('coordinator.mjs', { socket })
  await withPrograms([coordinator], async () => {
    for (const axis of axes(size)) {
      log(`${axis.id}: ${axis.values.join(', ')}`)
      await measureAxis(collector, axis, { coordinator, socket, scratch, rounds })
    }
    const counts = bySize(size, { tiny: [1, 2], short: [1, 4, 16, 64, 256], full: [1, 2, 4, 8, 16, 32, 64, 128, 256] })
    log(`clients: ${counts.join(', ')}`)
    await measureClients(collector, counts, { coordinator, socket, scratch, rounds })
  })
  collector.note('Files are sparse: names, shapes and sizes are real, values are holes. Headers and indexes are warm.')
  collector.note('Open is the first openCheckpoint() of a process, attach the first attach(), both without its start.')
  return collector.findings
}

/**
 * @param {Collector} collector
 * @param {Axis} axis
 * @param {{ coordinator: Program, socket: string, scratch: import('./harness/scratch.mjs').Scratch, rounds: { trials: number, warmUps?: number } }} options
 */
async function measureAxis(collector, { id, values, checkpoint }, { coordinator, socket, scratch, rounds }) {
  /** @type {Contender[]} */
  const contenders = []
  /** @type {number[]} */
  const made = []
  for (const value of values) {
    const { tensors, shards, bytes } = checkpoint(value)
    const name = `${id}-${value}`
    // Each of as many 4-byte elements as make the bytes full.
    const shape = [Math.round(bytes / tensors / 4)]
    const specs = Array.from({ length: tensors }, (_, at) => {
      return { name: `model.layers.${at >> 3}.part.${at & 7}.weight`, dtype: /** @type {const} */ ('F32'), shape }
    })
    try {
      const folder = await scratch.made(name, (path) => writeCheckpoint(path, specs, shards, null))
      await coordinator.ask({ name, folder })
      contenders.push(
        { id: `${value} open`, measure: async () => numbersOf(await runNodeTrial('open.mjs', { folder, tensors })) },
        {
          id: `${value} attach`,
          measure: async () => numbersOf(await runNodeTrial('attach.mjs', { socket, checkpoint: name, tensors })),
        },
      )
      made.push(value)
    } catch (error) {
      const { code } = /** @type {NodeJS.ErrnoException} */ (error)
      if (code !== 'EFBIG' && code !== 'ENOSPC') throw error
      collector.notMeasured(`${count(value)} ${id}`, `the file system of the benchmarks' folder says ${code}`)
    }
  }
  const samples = await interleave(contenders, rounds)
  for (const value of values) scratch.discard(`${id}-${value}`)
  const curves = /** @type {const} */ ([
    ['open', 'firstMs'],
    ['attach', 'attachMs'],
  ]).map(([what, name]) => ({
    name: what,
    figures: made.map((value) =>
      collector.figure(
        {
          id: `${id}.${value}.${what}`,
          label: `${what} with ${describeSize(checkpoint(value))}`,
          subject: 'onecopy',
          unit: 'ms',
          pageCache: 'warm',
        },
        samples(`${value} ${what}`, name),
      ),
    ),
  }))
  describe(collector, id, made, curves)
}

/**
 * @param {Collector} collector
 * @param {readonly number[]} counts
 * @param {{ coordinator: Program, socket: string, scratch: import('./harness/scratch.mjs').Scratch, rounds: { trials: number, warmUps?: number } }} options
 */
async function measureClients(collector, counts, { coordinator, socket, scratch, rounds }) {
  const tensors = 1000
  const specs = Array.from({ length: tensors }, (_, at) => {
    return { name: `layers.${at}.weight`, dtype: /** @type {const} */ ('F32'), shape: [256, 1024] }
  })
  const folder = await scratch.made('clients', (path) => writeCheckpoint(path, specs, 8, null))
  await coordinator.ask({ name: 'clients', folder })
  const paths = join(scratch.temporary, 'paths')
  mkdirSync(paths)
  const crowd = await Program.start('crowd.mjs', { socket, folder: paths, checkpoint: 'clients' })
  const figures = await withPrograms([crowd], async () => {
    const measured = []
    for (const clients of counts) {
      await crowd.ask(clients)
      const argument = { socket, checkpoint: 'clients', tensors }
      const measure = async () => numbersOf(await runNodeTrial('attach.mjs', argument))
      const samples = await interleave([{ id: 'attach', measure }], rounds)
      const about = { id: `clients.${clients}.attach`, label: `attach with ${clients} clients there before` }
      measured.push(
        collector.figure(
          { ...about, subject: 'onecopy', unit: 'ms', pageCache: 'warm' },
          samples('attach', 'attachMs'),
        ),
      )
    }
    return measured
  })
  describe(collector, 'clients', counts, [{ name: 'attach', figures }])
}

/**
 * The curves as a chart, with their exponents and bends in words.
 *
 * @param {Collector} collector
 * @param {string} id
 * @param {readonly number[]} values
 * @param {readonly { name: string, figures: Figure[] }[]} curves
 */
function describe(collector, id, values, curves) {
  for (const { name, figures } of curves) {
    const [first, last] = [figures[0], figures.at(-1)]
    if (first === undefined || last === undefined || first === last) continue
    const grown = (values.at(-1) ?? 0) / (values[0] ?? 1)
    collector.ratio(`${name}: ${count(grown)} times as many ${id}`, last, first)
    const samples = figures.map((figure) => figure.samples)
    const { exponent, low, high } = exponentOf(values, samples)
    const bend = findBend(values, samples)
    const turns =
      bend === null ? 'no bend' : `bends at ${count(bend.at)}, from ${two(bend.before)} to ${two(bend.after)}`
    collector.note(
      `${name} over ${id}: exponent ${two(exponent)} (95% interval ${two(low)} to ${two(high)}), ${turns}. ` +
        '0 is a constant cost, 1 a proportional one.',
    )
  }
  collector.chart({
    id: `scale-${id}`,
    title: `Cost as ${id} grow`,
    x: { label: id, values: [...values], log: true },
    y: { label: 'median', unit: 'ms', log: true },
    series: curves.map(({ name, figures }) => ({ name, values: figures.map(({ median }) => median) })),
  })
}

/** @param {{ tensors: number, shards: number, bytes: number }} size */
function describeSize({ tensors, shards, bytes }) {
  return `${count(tensors)} tensors, ${count(shards)} shards, ${count(bytes / GB)} GB`
}

/** @param {number} value */
function count(value) {
  return value.toLocaleString('en-US')
}

/** @param {number} value */
function two(value) {
  return value.toFixed(2)
}
