// @ts-check
import { Bench } from 'tinybench'

/**
 * Measures tasks inside this process, in turns: in every round each has some calls in a row, and the next round begins with
 * the next one. The first round is thrown away.
 *
 * @param {Readonly<Record<string, () => unknown>>} tasks
 * @param {{ rounds: number, calls: number }} options
 * @returns {Promise<Record<string, number>>} for each task the median over the rounds of the median call, in milliseconds
 */
export async function measureInTurns(tasks, { rounds, calls }) {
  const names = Object.keys(tasks)
  /** @type {Record<string, number[]>} */
  const medians = Object.fromEntries(names.map((name) => [name, []]))
  for (let round = -1; round < rounds; round++) {
    const bench = new Bench({ iterations: calls, time: 0, warmup: false, throws: true })
    const first = (round + 1) % names.length
    for (const name of [...names.slice(first), ...names.slice(0, first)]) bench.add(name, tasks[name] ?? (() => {}))
    await bench.run()
    for (const { name, result } of bench.tasks) {
      if (!('latency' in result)) throw new Error(`Task ${name} has no result: ${result.state}`)
      if (round >= 0) medians[name]?.push(result.latency.p50)
    }
  }
  return Object.fromEntries(names.map((name) => [name, middle(medians[name] ?? [])]))
}

/** @param {readonly number[]} values */
function middle(values) {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}
