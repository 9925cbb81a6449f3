// @ts-check
// Adds up the values of a tensor, read through its view and from ordinary memory of both kinds.
import { openCheckpoint } from 'onecopy'
import { measureInTurns } from './rounds.mjs'

const { folder, name, rounds, calls } = JSON.parse(process.argv[2] ?? '{}')

/** @param {ArrayLike<number>} values */
function sum(values) {
  let total = 0
  for (let at = 0; at < values.length; at++) total += values[at] ?? 0
  return total
}

const checkpoint = await openCheckpoint(folder)
const { data } = checkpoint.tensor(name)
const values = /** @type {Float32Array} */ (/** @type {unknown} */ (data))
const ordinary = new Float32Array(values)
const shared = new Float32Array(new SharedArrayBuffer(values.byteLength))
shared.set(values)
const expected = sum(ordinary)
if (sum(values) !== expected || sum(shared) !== expected) throw new Error('Sums of the same values differ')

const measured = await measureInTurns(
  { view: () => sum(values), ordinary: () => sum(ordinary), shared: () => sum(shared) },
  { rounds, calls },
)
checkpoint.close()
console.log(JSON.stringify(measured))
