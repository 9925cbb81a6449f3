// @ts-check
// Takes one rank's part of every tensor in one of three ways, and reads it: how long it took, and a checksum of what was
// read.
import { openCheckpoint } from 'onecopy'

const { folder, ranks, rank, way } = JSON.parse(process.argv[2] ?? '{}')

const PAGE_ELEMENTS = 2048
const checkpoint = await openCheckpoint(folder)
const names = checkpoint.names
const [rows = 0, columns = 0] = checkpoint.tensor(names[0] ?? '').shape

/** @param {number} size @returns {[begin: number, end: number]} */
const part = (size) => [(size / ranks) * rank, (size / ranks) * (rank + 1)]

/** Every page of it must be there: the others copy, and so have read everything. */
/** @param {Uint16Array} values */
function touch(values) {
  let sum = 0
  for (let at = 0; at < values.length; at += PAGE_ELEMENTS) sum += values[at] ?? 0
  return sum
}

/** @param {import('onecopy').TensorView} view */
const valuesOf = (view) => new Uint16Array(view.buffer)

/** @param {() => Iterable<import('onecopy').TensorView> | Promise<Iterable<import('onecopy').TensorView>>} take */
async function measure(take) {
  const started = performance.now()
  const views = [...(await take())]
  for (const view of views) touch(valuesOf(view))
  const ms = performance.now() - started
  let checksum = 0
  for (const view of views) for (const value of valuesOf(view)) checksum += value
  return { ms, checksum }
}

/** @type {import('onecopy').Selection} */
const selection = { tensors: names.map((name) => ({ name, ranges: [[0, rows], part(columns)] })) }

/** @type {Record<string, () => Promise<Record<string, number>>>} */
const ways = {
  async leading() {
    const { ms, checksum } = await measure(() => names.map((name) => checkpoint.tensor(name).slice(part(rows))))
    return { leadingMs: ms, leadingChecksum: checksum }
  },
  async inner() {
    const { ms, checksum } = await measure(() =>
      names.map((name) => checkpoint.tensor(name).slice(null, part(columns))),
    )
    return { innerMs: ms, innerChecksum: checksum }
  },
  async select() {
    /** @type {import('onecopy').Checkpoint[]} */
    const held = []
    const select = async () => {
      const selected = await checkpoint.select(selection)
      held.push(selected)
      return selected.tensors()
    }
    const first = await measure(select)
    const again = await measure(select)
    for (const selected of held) selected.close()
    if (again.checksum !== first.checksum) throw new Error('The same selection gave other bytes the second time')
    return { selectMs: first.ms, selectAgainMs: again.ms, innerChecksum: first.checksum }
  },
}
const report = await ways[way]?.()
checkpoint.close()
console.log(JSON.stringify(report))
