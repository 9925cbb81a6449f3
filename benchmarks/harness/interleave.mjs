// @ts-check
import { seededRandom } from './statistics.mjs'

/**
 * @typedef {object} Contender
 * @property {string} id
 * @property {() => Promise<Record<string, number>>} measure one trial, and what it measured by name
 */

/**
 * @callback Samples
 * @param {string} id of a contender
 * @param {string} name of what it measured
 * @returns {number[]} one for each round
 */

/**
 * Runs contenders side by side: first each one's warm-ups, which are thrown away, then rounds in which each has one trial,
 * in another order each time. What disturbs the machine disturbs all of them, and nobody always runs after the same one.
 *
 * @param {readonly Contender[]} contenders
 * @param {{ trials: number, warmUps?: number }} options
 * @returns {Promise<Samples & { has: (id: string, name: string) => boolean }>}
 */
export async function interleave(contenders, { trials, warmUps = 1 }) {
  const random = seededRandom(contenders.length)
  /** @type {Map<string, number[]>} */
  const samples = new Map()
  for (let round = -warmUps; round < trials; round++) {
    for (const { id, measure } of shuffled(contenders, random)) {
      const measured = await measure()
      if (round < 0) continue
      for (const [name, value] of Object.entries(measured)) {
        const key = `${id} ${name}`
        const list = samples.get(key) ?? []
        samples.set(key, list)
        list.push(value)
      }
    }
  }
  /** @param {string} id @param {string} name */
  const has = (id, name) => samples.has(`${id} ${name}`)
  /** @type {Samples} */
  const samplesOf = (id, name) => {
    const found = samples.get(`${id} ${name}`)
    if (found === undefined) throw new Error(`There are no samples "${name}" of "${id}": ${[...samples.keys()]}`)
    return found
  }
  return Object.assign(samplesOf, { has })
}

/**
 * @template T
 * @param {readonly T[]} list
 * @param {() => number} random
 */
function shuffled(list, random) {
  const keyed = list.map((item) => ({ item, key: random() }))
  return keyed.sort((a, b) => a.key - b.key).map(({ item }) => item)
}
