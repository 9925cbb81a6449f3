// @ts-check
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { dense } from './checkpoints.mjs'
import { bySize } from './harness/benchmark.mjs'
import { compile } from './harness/compiler.mjs'
import { interleave } from './harness/interleave.mjs'
import { Collector } from './harness/result.mjs'
import { numbersOf, runNodeTrial, runTrial } from './harness/trial.mjs'

/** @type {import('./harness/benchmark.mjs').Benchmark} */
export const read = {
  name: 'read',
  claim: 'Reading through a tensor view is as fast as reading an ordinary typed array',
  run,
}

const WAYS = /** @type {const} */ ([
  ['view', 'onecopy', 'through a view over the mapped file'],
  ['ordinary', 'Float32Array over an ArrayBuffer', 'from ordinary memory'],
  ['shared', 'Float32Array over a SharedArrayBuffer', 'from ordinary shared memory'],
])

/** A share of huge pages below which a mapping counts as one of small pages. */
const HUGE_SHARE = 0.9

/** @param {import('./harness/benchmark.mjs').RunOptions} options */
async function run(options) {
  const { size, log } = options
  const collector = new Collector()
  // Far beyond every cache, and well inside one.
  const sizes = bySize(size, { tiny: [2 ** 20], short: [2 ** 18, 2 ** 28], full: [2 ** 18, 2 ** 22, 2 ** 28] })
  const trials = bySize(size, { tiny: 2, short: 10, full: 30 })
  for (const byteLength of sizes) {
    log(`${byteLength} bytes in JavaScript`)
    await readOne(collector, options, { byteLength, trials, last: byteLength === sizes.at(-1) })
  }
  log('pages of 4 KiB and huge ones')
  await comparePages(collector, options, trials)
  collector.note('Page cache: warm, and every page stands in the page tables before the clock starts.')
  return collector.findings
}

/**
 * @param {Collector} collector
 * @param {import('./harness/benchmark.mjs').RunOptions} options
 * @param {{ byteLength: number, trials: number, last: boolean }} read
 */
async function readOne(collector, { size, scratch }, { byteLength, trials, last }) {
  const what = { name: `read-${byteLength}`, dtype: /** @type {const} */ ('F32'), shape: [byteLength / 4] }
  const { folder } = await dense(scratch, { ...what, tensors: 1, shards: 1 })
  const calls = Math.max(2, Math.round(bySize(size, { tiny: 2 ** 21, short: 2 ** 29, full: 2 ** 29 }) / byteLength))
  const argument = { folder, name: 'layers.0.weight', rounds: 3, calls: Math.min(calls, 200) }
  const measure = async () => numbersOf(await runNodeTrial('read.mjs', argument))
  const samples = await interleave([{ id: 'all', measure }], { trials })
  scratch.discard(what.name)
  const mib = byteLength / 2 ** 20
  const figures = WAYS.map(([id, subject, how]) => {
    const rates = samples('all', id).map((ms) => byteLength / 1e6 / ms)
    const about = { id: `${byteLength}.${id}`, label: `sum of ${mib} MiB of F32 ${how}`, subject }
    return collector.figure(
      { ...about, unit: 'GB/s', better: 'higher', pageCache: id === 'view' ? 'warm' : null },
      rates,
    )
  })
  const [view, ordinary, shared] = figures
  if (!(view && ordinary && shared)) return
  const { ratio: value } = collector.ratio(`${mib} MiB: view ÷ ArrayBuffer`, view, ordinary)
  collector.ratio(`${mib} MiB: SharedArrayBuffer ÷ ArrayBuffer`, shared, ordinary)
  if (!last || size === 'tiny') return
  collector.target('a view ≥ 0.97× the rate of an ordinary Float32Array', {
    ours: view,
    rival: ordinary,
    value,
    atLeast: 0.97,
  })
}

/**
 * In C, where nothing but the pages differs.
 *
 * @param {Collector} collector
 * @param {import('./harness/benchmark.mjs').RunOptions} options
 * @param {number} trials
 */
async function comparePages(collector, { size, scratch }, trials) {
  const { path, reason } = await compile('huge_pages', scratch)
  if (path === null) return collector.notMeasured('pages of 4 KiB against huge pages', reason)
  const elements = bySize(size, { tiny: 2 ** 21, short: 2 ** 26, full: 2 ** 27 })
  /** @param {string} name a file for each: in which pages the page cache holds it is settled when it is read first */
  const make = async (name) => {
    const { folder } = await dense(scratch, { name, dtype: 'F32', shape: [elements], tensors: 1, shards: 1 })
    const file = readdirSync(folder).find((entry) => entry.endsWith('.safetensors')) ?? ''
    return join(folder, file)
  }
  const files = { small: await make('pages-small'), huge: await make('pages-huge') }
  for (const memory of /** @type {const} */ (['anonymous', 'file'])) {
    const contenders = /** @type {const} */ (['small', 'huge']).map((pages) => ({
      id: pages,
      measure: async () => numbersOf(await runTrial(path, [memory, pages, files[pages], '5'])),
    }))
    const samples = await interleave(contenders, { trials: Math.min(trials, 10) })
    const label = memory === 'file' ? 'a mapped file' : 'anonymous memory'
    const unfit = whyUnfit(samples)
    if (unfit !== null) {
      collector.notMeasured(`huge pages for ${label}`, unfit)
      continue
    }
    const pageCache = memory === 'file' ? /** @type {const} */ ('warm') : null
    /** @param {'small' | 'huge'} id */
    const figures = (id) => {
      const pages = `${label} in ${id === 'huge' ? 'huge pages' : 'pages of 4 KiB'}`
      const rates = samples(id, 'byteLength').map((bytes, at) => bytes / 1e6 / (samples(id, 'ms')[at] ?? 0))
      const about = { subject: 'C', pageCache }
      const sum = { ...about, id: `pages.${memory}.${id}.sum`, label: `sum of ${pages}` }
      const visit = { ...about, id: `pages.${memory}.${id}.visit`, label: `one value of a page anywhere in ${pages}` }
      return {
        sum: collector.figure({ ...sum, unit: 'GB/s', better: 'higher' }, rates),
        visit: collector.figure({ ...visit, unit: 'ns' }, samples(id, 'visitNanoseconds')),
      }
    }
    const [small, huge] = [figures('small'), figures('huge')]
    collector.ratio(`${label}, sum: huge pages ÷ pages of 4 KiB`, huge.sum, small.sum)
    collector.ratio(`${label}, one value of a page: pages of 4 KiB ÷ huge pages`, small.visit, huge.visit)
  }
  for (const name of ['pages-small', 'pages-huge']) scratch.discard(name)
}

/**
 * @param {(id: string, name: string) => number[]} samples
 * @returns {string | null} why this is no comparison of small pages with huge ones
 */
function whyUnfit(samples) {
  const byteLength = samples('huge', 'byteLength')[0] ?? 1
  const given = Math.min(...samples('huge', 'hugeBytes')) / byteLength
  const notAsked = Math.max(...samples('small', 'hugeBytes')) / byteLength
  if (given < HUGE_SHARE) {
    return `asked with MADV_HUGEPAGE and MADV_COLLAPSE, the kernel gave them to ${(100 * given).toFixed(0)}% of it`
  }
  return notAsked > 1 - HUGE_SHARE
    ? `asked not to, the kernel gave them to ${(100 * notAsked).toFixed(0)}% of it`
    : null
}
