// @ts-check
// Opens a checkpoint twice in the same process, and prints how long each took.
import { openCheckpoint } from 'onecopy'

const { folder, tensors } = JSON.parse(process.argv[2] ?? '{}')

async function open() {
  const started = performance.now()
  const checkpoint = await openCheckpoint(folder)
  const ms = performance.now() - started
  if (checkpoint.tensorCount !== tensors) throw new Error(`${checkpoint.tensorCount} tensors, required are ${tensors}`)
  checkpoint.close()
  return ms
}

const firstMs = await open()
const atNs = `${process.hrtime.bigint()}`
const againMs = await open()
console.log(JSON.stringify({ firstMs, againMs, atNs }))
