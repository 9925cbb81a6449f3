// @ts-check
import { sparseDeepSeek, sparseLlama } from './checkpoints.mjs'
import { bySize } from './harness/benchmark.mjs'
import { interleave } from './harness/interleave.mjs'
import { findPython } from './harness/python.mjs'
import { Collector } from './harness/result.mjs'
import { pairedRatio } from './harness/statistics.mjs'
import { numbersOf, runNodeTrial, runTrial, sinceStart, trialPath } from './harness/trial.mjs'

/** @typedef {import('./harness/result.mjs').Figure} Figure */

/** @type {import('./harness/benchmark.mjs').Benchmark} */
export const open = {
  name: 'open',
  claim:
    'Opening, checking and mapping a checkpoint is faster than the reference implementation opening the same files',
  run,
}

/** What each program reports, and how a reader knows it. */
const MEASURES = /** @type {const} */ ([
  ['firstMs', 'first open'],
  ['againMs', 'second open in the same process'],
  ['startedMs', 'from the start of the process to its first open'],
])

/** @param {import('./harness/benchmark.mjs').RunOptions} options */
async function run(options) {
  const { size, scratch } = options
  const collector = new Collector()
  const { python, reason } = await findPython(['safetensors', 'numpy'], options)
  if (python === null) collector.notMeasured('Python safetensors', reason)
  collector.notMeasured(
    'the parser of @huggingface/hub: parseSafetensorsMetadata()',
    'it reads from the Hub over HTTP and has no way to a local file',
  )
  const checkpoints = [
    await sparseLlama(scratch, bySize(size, { tiny: 1, short: 32, full: 32 })),
    await sparseDeepSeek(scratch, bySize(size, { tiny: { layers: 4, experts: 4, shards: 5 }, short: {}, full: {} })),
  ]
  const trials = bySize(size, { tiny: 2, short: 10, full: 40 })
  for (const [at, checkpoint] of checkpoints.entries()) {
    options.log(`${checkpoint.tensors} tensors in ${checkpoint.shards} shards`)
    const figures = await openOne(collector, checkpoint, { python, trials })
    if (size !== 'tiny') hold(collector, at === 0, figures)
  }
  collector.note('Page cache: the headers and the index are warm, values are holes that nobody reads.')
  collector.note(
    'Ours checks every header, compares it with the index in both directions and maps the shards; Python checks and maps ' +
      'but does not compare; the naive program does neither.',
  )
  return collector.findings
}

/**
 * @param {Collector} collector
 * @param {import('./checkpoints.mjs').MadeCheckpoint} checkpoint
 * @param {{ python: import('./harness/python.mjs').Python | null, trials: number }} options
 */
async function openOne(collector, checkpoint, { python, trials }) {
  /** @param {import('./harness/trial.mjs').Trial} trial */
  const withStart = (trial) => ({ ...numbersOf(trial), startedMs: sinceStart(trial) })
  const contenders = [
    {
      id: 'onecopy',
      subject: 'onecopy',
      measure: async () => withStart(await runNodeTrial('open.mjs', checkpoint)),
    },
    {
      id: 'naive',
      subject: 'JSON.parse in Node.js',
      measure: async () => withStart(await runNodeTrial('rivals/naive-open.mjs', checkpoint)),
    },
  ]
  if (python !== null) {
    const args = [trialPath('rivals/python_open.py'), JSON.stringify(checkpoint)]
    contenders.push({
      id: 'python',
      subject: `Python safetensors ${python.packages['safetensors']}`,
      measure: async () => withStart(await runTrial(python.command, args)),
    })
  }
  const samples = await interleave(contenders, { trials })
  /** @type {Record<string, Figure>} */
  const figures = {}
  for (const [name, what] of MEASURES) {
    for (const { id, subject } of contenders) {
      const label = `${checkpoint.tensors} tensors, ${checkpoint.shards} shards: ${what}`
      const about = { id: `${checkpoint.tensors}.${name}.${id}`, label, subject, unit: /** @type {const} */ ('ms') }
      figures[`${id}.${name}`] = collector.figure({ ...about, pageCache: 'warm' }, samples(id, name))
    }
    const ours = figures[`onecopy.${name}`]
    for (const { id, subject } of contenders.slice(1)) {
      const rival = figures[`${id}.${name}`]
      if (ours && rival) collector.ratio(`${checkpoint.tensors} tensors: ${subject} ÷ onecopy, ${what}`, rival, ours)
    }
  }
  collector.chart({
    id: `open-${checkpoint.tensors}`,
    title: `Opening ${checkpoint.tensors.toLocaleString('en-US')} tensors in ${checkpoint.shards} shards, warm`,
    x: { label: '', values: MEASURES.map(([, what]) => what) },
    y: { label: 'time, median', unit: 'ms' },
    series: contenders.map(({ id, subject }) => ({
      name: subject,
      values: MEASURES.map(([name]) => figures[`${id}.${name}`]?.median ?? null),
    })),
  })
  return figures
}

/**
 * @param {Collector} collector
 * @param {boolean} small
 * @param {Readonly<Record<string, Figure>>} figures
 */
function hold(collector, small, { 'onecopy.firstMs': ours, 'python.firstMs': rival }) {
  if (ours === undefined) return
  if (small) collector.target('first open of 291 tensors ≤ 3 ms', { ours, value: ours.median, atMost: 3 })
  if (rival === undefined) return
  if (small) {
    const { ratio: value } = pairedRatio(rival.samples, ours.samples)
    collector.target('first open of 291 tensors ≥ 3× faster than Python safetensors', {
      ours,
      rival,
      value,
      atLeast: 3,
    })
  } else {
    const { ratio: value } = pairedRatio(ours.samples, rival.samples)
    collector.target('first open of 90,427 tensors ≤ 0.6× Python safetensors', { ours, rival, value, atMost: 0.6 })
  }
}
