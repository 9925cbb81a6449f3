// @ts-check
// A thread that has only adopted a checkpoint, and selects: what that needs is not loaded at first.
import { parentPort, workerData } from 'node:worker_threads'
import { Checkpoint, loadSelecting } from '../../dist/adopt.js'

const { share, selection } = workerData
const checkpoint = Checkpoint.adopt(share)
const origin = { version: null, release: () => {}, latest: async () => checkpoint }

/** @param {() => unknown} act */
async function refusalOf(act) {
  try {
    await act()
    return null
  } catch (error) {
    const { name, code, message } = /** @type {Error & { code?: string }} */ (error)
    return { name, code, message }
  }
}

const tooEarly = await refusalOf(() => checkpoint.selectWith(selection, [], origin))
const { arenaBytes } = checkpoint

const closing = Checkpoint.adopt(share)
const closed = refusalOf(() => closing.select(selection))
closing.close()

// Two at once, while it is being loaded: they share what is gathered.
const [first, second] = await Promise.all([checkpoint.select(selection), checkpoint.select(selection)])
const shared = checkpoint.arenaBytes
const bytes = first.names.map((name) => [...new Uint8Array(first.tensor(name).buffer)])
first.close()
second.close()

await loadSelecting()
const nothing = checkpoint.selectWith({ tensors: [] }, [], origin).tensorCount
parentPort?.postMessage({
  tooEarly,
  arenaBytes,
  closed: await closed,
  shared,
  bytes,
  left: checkpoint.arenaBytes,
  nothing,
})
checkpoint.close()
