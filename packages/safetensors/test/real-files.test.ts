import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { parseSafetensors, readHeaderLength } from '../src/header.ts'
import { serialize } from '../src/serialize.ts'
import { parseShardIndex } from '../src/shard-index.ts'
import { parseShardFileName } from '../src/shard-names.ts'

const folder = fileURLToPath(new URL('../../../../shared/fixtures/real/', import.meta.url))
const missing = existsSync(`${folder}expected.json`) ? null : `there are no published checkpoints in ${folder}`

if (missing !== null) console.warn(`Published checkpoints are not read: ${missing}`)

interface ExpectedFile {
  byteLength: number
  metadata: Record<string, string> | null
  tensors: Record<string, { dtype: string; shape: number[]; byteOffset: number; byteLength: number; sha256: string }>
}

const expected: Record<string, ExpectedFile> =
  missing === null ? JSON.parse(readFileSync(`${folder}expected.json`, 'utf8')) : {}

describe('published checkpoints', () => {
  test('are at hand', ({ skip }) => {
    skip(missing !== null, missing ?? '')
    expect(Object.keys(expected).length).toBeGreaterThan(15)
  })

  test.each(Object.keys(expected))('parseSafetensors() reads %s as the Python package does', (path) => {
    const { byteLength, metadata, tensors } = expected[path]!
    const bytes = readFileSync(folder + path)
    expect(bytes.length).toBe(byteLength)
    const header = parseSafetensors(bytes)
    const dataBegin = 8 + readHeaderLength(bytes, bytes.length)
    expect(header.metadata).toEqual(metadata === null ? null : new Map(Object.entries(metadata)))
    const found = [...header.tensors].map(([name, { dtype, shape, dataOffsets }]) => {
      const [begin, end] = [dataBegin + dataOffsets[0], dataBegin + dataOffsets[1]]
      const sha256 = createHash('sha256').update(bytes.subarray(begin, end)).digest('hex')
      return [name, { dtype, shape, byteOffset: begin, byteLength: end - begin, sha256 }]
    })
    expect(Object.fromEntries(found)).toEqual(tensors)
  })

  test.each(Object.keys(expected))('serialize() keeps every tensor of %s', (path) => {
    const bytes = readFileSync(folder + path)
    const header = parseSafetensors(bytes)
    const dataBegin = 8 + readHeaderLength(bytes, bytes.length)
    const tensors = [...header.tensors].map(
      ([
        name,
        {
          dtype,
          shape,
          dataOffsets: [begin, end],
        },
      ]) => ({
        name,
        dtype,
        shape,
        data: bytes.subarray(dataBegin + begin, dataBegin + end),
      }),
    )
    const rewritten = serialize(tensors, header.metadata)
    const again = parseSafetensors(rewritten)
    expect(again.metadata).toEqual(header.metadata)
    const begin = 8 + readHeaderLength(rewritten, rewritten.length)
    for (const { name, dtype, shape, data } of tensors) {
      const info = again.tensors.get(name)!
      expect(info).toMatchObject({ dtype, shape })
      const [from, to] = info.dataOffsets
      expect(Buffer.compare(rewritten.subarray(begin + from, begin + to), data)).toBe(0)
    }
  })

  test('parseShardIndex() reads an index that agrees with its shards', ({ skip }) => {
    skip(missing !== null, missing ?? '')
    const at = `${folder}safetensors-jl-sharded/`
    const { weightMap, shardNames, totalSize } = parseShardIndex(readFileSync(`${at}model.safetensors.index.json`))
    expect(shardNames.map((name) => parseShardFileName(name)?.count)).toEqual(shardNames.map(() => 6))
    let dataBytes = 0
    const found = new Map<string, string>()
    for (const shard of shardNames) {
      for (const [name, { dataOffsets }] of parseSafetensors(readFileSync(at + shard)).tensors) {
        found.set(name, shard)
        dataBytes += dataOffsets[1] - dataOffsets[0]
      }
    }
    expect(new Map([...found].sort())).toEqual(new Map([...weightMap].sort()))
    expect(totalSize).toBe(dataBytes)
  })
})
