// @ts-check
// Opens a part of a checkpoint whose files are not in RAM, brings it in, and prints what that cost:
// node cold-selection.mjs <path> <backing> <"select" | "open"> <selection as JSON>
import { readFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { openCheckpoint } from '../../dist/index.js'

const [path = '', backing, way, json = ''] = process.argv.slice(2)
const options = { backing: /** @type {'file' | 'sealed' | 'heap'} */ (backing) }
const selection = JSON.parse(json)

/** From the disk, by this process. */
function readBytes() {
  return Number(/^read_bytes: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))?.[1] ?? Number.NaN)
}

// What is loaded lazily is loaded by now.
const first = await openCheckpoint(path)
first.close()

const file = await openCheckpoint(path)
for (let attempt = 0; attempt < 200 && file.evict().residentBytes !== 0; attempt++) await setTimeout(5)
const coldBytes = file.residency().residentBytes

const before = readBytes()
const part = way === 'open' ? await openCheckpoint(path, { ...options, selection }) : await file.select(selection)
const { byteLength, residentBytes } = await part.prefetch()
const answer = {
  coldBytes,
  byteLength,
  residentBytes,
  readBytes: readBytes() - before,
  fileBytes: file.residency().residentBytes,
}
process.stdout.write(JSON.stringify(answer))
