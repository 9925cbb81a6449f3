// @ts-check
import { dense } from './checkpoints.mjs'
import { bySize } from './harness/benchmark.mjs'
import { interleave } from './harness/interleave.mjs'
import { Collector } from './harness/result.mjs'
import { numbersOf, runNodeTrial } from './harness/trial.mjs'

/** @type {import('./harness/benchmark.mjs').Benchmark} */
export const pool = {
  name: 'pool',
  claim: 'Giving a task to a pool that shares weights takes no longer than giving it to bare piscina',
  run,
}

const BURST = 64

/** What of the work is measured: one task after the other, or many given at once. */
const LOADS = /** @type {const} */ ([
  ['One', 'one task that does nothing, from run() to its result', 1],
  ['Burst', `one of ${BURST} tasks given at once that do nothing`, BURST],
])

/** @param {import('./harness/benchmark.mjs').RunOptions} options */
async function run({ size, scratch, log }) {
  const collector = new Collector()
  const { folder } = await dense(scratch, { name: 'pool', dtype: 'F32', shape: [1024], tensors: 4, shards: 2 })
  const trials = bySize(size, { tiny: 2, short: 10, full: 30 })
  const ones = bySize(size, { tiny: 5, short: 500, full: 1000 })
  const bursts = bySize(size, { tiny: 2, short: 50, full: 200 })
  const threads = 2
  log(`pools of ${threads} threads`)
  const argument = { folder, threads, burst: BURST, rounds: 3, ones, bursts }
  const measure = async () => numbersOf(await runNodeTrial('pool.mjs', argument))
  const samples = await interleave([{ id: 'both', measure }], { trials })
  for (const [load, label, tasks] of LOADS) {
    /** @param {string} who @param {string} subject */
    const figure = (who, subject) => {
      const each = samples('both', `${who}${load}`).map((ms) => (ms * 1000) / tasks)
      return collector.figure({ id: `${load}.${who}`.toLowerCase(), label, subject, unit: 'µs' }, each)
    }
    const rival = figure('bare', 'piscina')
    const ours = figure('onecopy', 'onecopy')
    const { ratio } = collector.ratio(`${label}: onecopy ÷ piscina`, ours, rival)
    if (size !== 'tiny') {
      const which = load === 'One' ? 'one task' : 'many tasks at once'
      collector.target(`dispatch of ${which} ≤ 1.05× bare piscina`, { ours, rival, value: ratio, atMost: 1.05 })
    }
  }
  collector.note(`Two pools of ${threads} threads in one process, asked in turns; ${trials} processes.`)
  return collector.findings
}
