// @ts-check
import { dense } from './checkpoints.mjs'
import { bySize } from './harness/benchmark.mjs'
import { compile } from './harness/compiler.mjs'
import { interleave } from './harness/interleave.mjs'
import { findPython } from './harness/python.mjs'
import { Collector } from './harness/result.mjs'
import { numbersOf, runNodeTrial, runTrial, trialPath } from './harness/trial.mjs'

/** @typedef {import('./harness/result.mjs').Figure} Figure */
/** @typedef {import('onecopy').Dtype} Dtype */

/** @type {import('./harness/benchmark.mjs').Benchmark} */
export const convert = {
  name: 'convert',
  claim: 'toFloat32() is as fast as the memory allows, and not slower than torch on one core',
  run,
}

/** Those that are promised something: what models are stored in. */
const PROMISED = /** @type {const} */ (['BF16', 'F16'])

/** @type {readonly Dtype[]} */
const COMMON = ['BF16', 'F16', 'F8_E4M3', 'F8_E5M2', 'F32', 'F64', 'I8', 'I32']
/** @type {readonly Dtype[]} */
const OTHERS = [
  ...[
    'F4',
    'F6_E2M3',
    'F6_E3M2',
    'F8_E8M0',
    'F8_E4M3FNUZ',
    'F8_E5M2FNUZ',
    'BOOL',
    'U8',
    'I16',
    'U16',
    'U32',
    'I64',
    'U64',
  ],
].map((dtype) => /** @type {Dtype} */ (dtype))

/** @param {import('./harness/benchmark.mjs').RunOptions} options */
async function run(options) {
  const { size, scratch, log } = options
  const collector = new Collector()
  const elements = bySize(size, { tiny: 2 ** 16, short: 2 ** 24, full: 2 ** 25 })
  const dtypes = bySize(size, { tiny: [...COMMON, ...OTHERS], short: COMMON, full: [...COMMON, ...OTHERS] })
  const trials = bySize(size, { tiny: 2, short: 10, full: 20 })
  const calls = bySize(size, { tiny: 3, short: 5, full: 7 })
  /** @type {Record<string, string>} */
  const folders = {}
  for (const dtype of dtypes) {
    const made = await dense(scratch, { name: `convert-${dtype}`, dtype, shape: [elements], tensors: 1, shards: 1 })
    folders[dtype] = made.folder
  }
  log(`${elements} elements of each of ${dtypes.length} dtypes`)
  const argument = { folders, intoNew: PROMISED, rounds: 2, calls }
  const contenders = [{ id: 'onecopy', measure: async () => numbersOf(await runNodeTrial('convert.mjs', argument)) }]
  const { path, reason: noCompiler } = await compile('memcpy_rate', scratch)
  if (path === null) collector.notMeasured("memcpy's rate in C", noCompiler)
  else {
    const args = [`${elements * 4}`, `${2 * calls}`]
    contenders.push({ id: 'memcpy', measure: async () => numbersOf(await runTrial(path, args)) })
  }
  // 700 MB are too much for a short run that nobody asked for torch in.
  const mayInstall = options.mayInstall && size === 'full'
  const { python, reason: noTorch } = await findPython(['torch', 'numpy'], { ...options, mayInstall })
  if (python === null) collector.notMeasured('torch, .float()', `${noTorch}; npm run bench -- --full installs it`)
  else {
    const args = [trialPath('rivals/torch_convert.py'), JSON.stringify({ elements, dtypes, calls })]
    contenders.push({ id: 'torch', measure: async () => numbersOf(await runTrial(python.command, args)) })
  }
  const samples = await interleave(contenders, { trials })

  /** Rates are of what comes out, four bytes for each element. */
  /** @param {string} id @param {string} label @param {string} subject @param {number[]} ms */
  const figure = (id, label, subject, ms) => {
    const rates = ms.map((each) => (elements * 4) / 1e6 / each)
    return collector.figure({ id, label, subject, unit: 'GB/s', better: 'higher', pageCache: 'warm' }, rates)
  }
  const copied = [
    figure('memcpy.node', 'copy of as many bytes', 'TypedArray.set in Node.js', samples('onecopy', 'memcpy')),
  ]
  if (path !== null) copied.push(figure('memcpy.c', 'copy of as many bytes', 'memcpy in C', samples('memcpy', 'ms')))
  const memcpy = copied.at(-1)
  for (const dtype of dtypes) {
    const ours = figure(
      `${dtype}.onecopy`,
      `${dtype} to F32, into an array that is there`,
      'onecopy',
      samples('onecopy', dtype),
    )
    if (isPromised(dtype)) {
      figure(`${dtype}.onecopy-new`, `${dtype} to F32 into new memory`, 'onecopy', samples('onecopy', `${dtype} new`))
    }
    if (memcpy) compareWithCopy(collector, dtype, ours, memcpy, size !== 'tiny')
    // torch lacks some dtypes.
    if (python === null || !samples.has('torch', dtype)) continue
    const subject = `torch ${python.packages['torch']}, one thread`
    const rival = figure(
      `${dtype}.torch`,
      `${dtype} to F32, into an array that is there`,
      subject,
      samples('torch', dtype),
    )
    figure(`${dtype}.torch-new`, `${dtype} to F32 into new memory, .float()`, subject, samples('torch', `${dtype} new`))
    const { ratio: value } = collector.ratio(`${dtype} to F32: onecopy ÷ torch`, ours, rival)
    if (size === 'tiny' || !isPromised(dtype)) continue
    collector.target(`${dtype} to F32 ≥ 1× torch on one core`, { ours, rival, value, atLeast: 1 })
  }
  draw(collector, dtypes)
  collector.note(
    `Rates are of what comes out: 4 bytes for each of ${elements} elements. One thread; sources are mapped and warm.`,
  )
  collector.note(
    'Both are held against each other without the cost of new memory, which is most of what .float() takes.',
  )
  return collector.findings
}

/**
 * @param {Collector} collector
 * @param {Dtype} dtype
 * @param {Figure} ours
 * @param {Figure} memcpy
 * @param {boolean} held whether the promise is held against it
 */
function compareWithCopy(collector, dtype, ours, memcpy, held) {
  const { ratio: value } = collector.ratio(`${dtype} to F32 ÷ memcpy's output rate`, ours, memcpy)
  if (held && isPromised(dtype)) {
    collector.target(`${dtype} to F32 ≥ 0.8× memcpy's output rate`, { ours, rival: memcpy, value, atLeast: 0.8 })
  }
}

/** @param {Dtype} dtype */
function isPromised(dtype) {
  return PROMISED.some((promised) => promised === dtype)
}

/** @param {Collector} collector @param {readonly Dtype[]} dtypes */
function draw(collector, dtypes) {
  const { figures } = collector.findings
  /** @param {string} id */
  const rate = (id) => figures.find((figure) => figure.id === id)?.median ?? null
  const series = ['onecopy', 'torch'].map((name) => ({ name, values: dtypes.map((dtype) => rate(`${dtype}.${name}`)) }))
  collector.chart({
    id: 'convert',
    title: 'To 32-bit floats, one core',
    x: { label: '', values: [...dtypes] },
    y: { label: 'output', unit: 'GB/s' },
    series: [
      ...series.filter(({ values }) => values.some((value) => value !== null)),
      { name: 'memcpy', values: dtypes.map(() => rate('memcpy.c') ?? rate('memcpy.node')) },
    ],
  })
}
