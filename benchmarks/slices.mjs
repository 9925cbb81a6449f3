// @ts-check
import { dense } from './checkpoints.mjs'
import { bySize } from './harness/benchmark.mjs'
import { interleave } from './harness/interleave.mjs'
import { warmPageCache } from './harness/page-cache.mjs'
import { findPython } from './harness/python.mjs'
import { Collector } from './harness/result.mjs'
import { numbersOf, runNodeTrial, runTrial, trialPath } from './harness/trial.mjs'

/** @type {import('./harness/benchmark.mjs').Benchmark} */
export const slices = {
  name: 'slices',
  claim:
    "A tensor-parallel rank's part of every tensor is there sooner than get_slice() of the reference implementation has it",
  run,
}

const RANKS = 4
const RANK = 1

/** What is measured: ours, by program and name in its report; the rival's for the same part; and what it is. */
const PARTS = /** @type {const} */ ([
  ['leading', 'leadingMs', 'leadingMs', 'rows: slice([begin, end]), a view of the same pages'],
  ['inner', 'innerMs', 'innerMs', 'columns: slice(null, [begin, end]), copied for each caller'],
  ['select', 'selectMs', 'innerMs', 'columns: select(), gathered once for everybody'],
  ['select', 'selectAgainMs', 'innerMs', 'columns: select() again while the first is held'],
])

/** @param {import('./harness/benchmark.mjs').RunOptions} options */
async function run(options) {
  const { size, scratch, log } = options
  const collector = new Collector()
  const shape = bySize(size, { tiny: [256, 256], short: [4096, 8192], full: [4096, 16384] })
  const tensors = bySize(size, { tiny: 2, short: 4, full: 8 })
  // numpy has no bfloat16, so halves of the other kind.
  const checkpoint = await dense(scratch, { name: 'slices', dtype: 'F16', shape, tensors, shards: 2 })
  const { python, reason } = await findPython(['safetensors', 'numpy'], options)
  if (python === null) collector.notMeasured('Python safetensors, get_slice()', reason)
  const argument = { folder: checkpoint.folder, ranks: RANKS, rank: RANK }
  const contenders = ['leading', 'inner', 'select'].map((way) => ({
    id: way,
    measure: async () => {
      await warmPageCache(checkpoint.folder)
      return numbersOf(await runNodeTrial('slices.mjs', { ...argument, way }))
    },
  }))
  if (python !== null) {
    const args = [trialPath('rivals/python_slices.py'), JSON.stringify(argument)]
    const measure = async () => {
      await warmPageCache(checkpoint.folder)
      return numbersOf(await runTrial(python.command, args))
    }
    contenders.push({ id: 'python', measure })
  }
  log(`rank ${RANK} of ${RANKS}, ${checkpoint.byteLength} bytes`)
  const samples = await interleave(contenders, { trials: bySize(size, { tiny: 2, short: 10, full: 20 }) })
  assertSame(contenders, samples)
  /** @type {Map<string, import('./harness/result.mjs').Figure>} */
  const rivals = new Map()
  for (const name of /** @type {const} */ (['leadingMs', 'innerMs'])) {
    if (python === null) break
    const label = `${name === 'leadingMs' ? 'rows' : 'columns'}: get_slice(), copied for each caller`
    const subject = `Python safetensors ${python.packages['safetensors']}`
    const about = { id: `${name}.python`, label, subject, unit: /** @type {const} */ ('ms') }
    rivals.set(name, collector.figure({ ...about, pageCache: 'warm' }, samples('python', name)))
  }
  for (const [way, name, rivalName, label] of PARTS) {
    const about = { id: `${name}.onecopy`, label, subject: 'onecopy', unit: /** @type {const} */ ('ms') }
    const ours = collector.figure({ ...about, pageCache: 'warm' }, samples(way, name))
    const rival = rivals.get(rivalName)
    if (rival) collector.ratio(`get_slice() ÷ onecopy, ${label}`, rival, ours)
  }
  collector.note(
    `Rank ${RANK} of ${RANKS} of ${tensors} tensors of F16 [${shape}]. A part counts as there when every page of it was read.`,
  )
  collector.note('All files were read before every trial; the page tables of each process were empty.')
  return collector.findings
}

/**
 * Whoever reads something else is not faster.
 *
 * @param {readonly { id: string }[]} contenders
 * @param {Awaited<ReturnType<typeof interleave>>} samples
 */
function assertSame(contenders, samples) {
  for (const name of ['leadingChecksum', 'innerChecksum']) {
    const found = new Set(contenders.flatMap(({ id }) => (samples.has(id, name) ? samples(id, name) : [])))
    if (found.size !== 1) throw new Error(`${name} must be one number, found were ${[...found]}`)
  }
}
