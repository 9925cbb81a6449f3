// @ts-check
// Converts one tensor of each dtype to 32-bit floats, and copies as many bytes as come out, in turns.
import { openCheckpoint } from 'onecopy'
import { measureInTurns } from './rounds.mjs'

const { folders, intoNew, rounds, calls } = JSON.parse(process.argv[2] ?? '{}')

/** @type {Record<string, () => unknown>} */
const tasks = {}
/** @type {(() => void)[]} */
const closing = []
for (const [dtype, folder] of Object.entries(folders)) {
  const checkpoint = await openCheckpoint(folder)
  const [view] = checkpoint.tensors()
  if (view?.dtype !== dtype) throw new Error(`The tensor is ${view?.dtype}, required is ${dtype}`)
  const out = new Float32Array(view.elementCount)
  tasks[dtype] = () => view.toFloat32(out)
  if (intoNew.includes(dtype)) tasks[`${dtype} new`] = () => view.toFloat32()
  closing.push(() => checkpoint.close())
  // What the memory allows: as many bytes read and written as a conversion from F32 would have to.
  tasks['memcpy'] ??= copyOf(out)
}

/** @param {Float32Array} out */
function copyOf(out) {
  const source = new Float32Array(out.length).fill(1)
  const target = new Float32Array(out.length).fill(2)
  return () => target.set(source)
}

const measured = await measureInTurns(tasks, { rounds, calls })
for (const close of closing) close()
console.log(JSON.stringify(measured))
