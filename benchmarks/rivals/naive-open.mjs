// @ts-check
// What a Node program without a library does: JSON.parse of the index and of every header. Nothing is checked or mapped.
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'

const { folder, tensors } = JSON.parse(process.argv[2] ?? '{}')

/** @param {string} path */
async function readHeader(path) {
  const file = await open(path)
  try {
    const length = Buffer.alloc(8)
    await file.read(length, 0, 8, 0)
    const header = Buffer.alloc(Number(length.readBigUInt64LE()))
    await file.read(header, 0, header.byteLength, 8)
    return JSON.parse(header.toString('utf8'))
  } finally {
    await file.close()
  }
}

async function openAll() {
  const started = performance.now()
  const index = JSON.parse(await readFile(join(folder, 'model.safetensors.index.json'), 'utf8'))
  const shards = [...new Set(Object.values(index.weight_map))]
  const headers = await Promise.all(shards.map((shard) => readHeader(join(folder, `${shard}`))))
  let count = 0
  for (const header of headers) for (const name in header) if (name !== '__metadata__') count++
  const ms = performance.now() - started
  if (count !== tensors) throw new Error(`${count} tensors, required are ${tensors}`)
  return ms
}

const firstMs = await openAll()
const atNs = `${process.hrtime.bigint()}`
const againMs = await openAll()
console.log(JSON.stringify({ firstMs, againMs, atNs }))
