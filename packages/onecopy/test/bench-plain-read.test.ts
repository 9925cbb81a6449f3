import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { serialize } from '@onecopy/safetensors'
import { describe, expect, test } from 'vitest'
import { readPieces, readWhole, TensorSearch } from '../src/commands/bench/plain-read.ts'
import { temporaryFolder } from './run-onecopy.ts'

const FILE = serialize([
  { name: 'a', dtype: 'U8', shape: [3], data: Uint8Array.of(1, 2, 3) },
  { name: 'b', dtype: 'U8', shape: [4], data: Uint8Array.of(4, 5, 6, 7) },
])

describe('TensorSearch', () => {
  test('finds the tensor as soon as all of it is there, however the file is cut', () => {
    const search = new TensorSearch('a')
    const pieces: Uint8Array[] = []
    const found: number[] = []
    for (const [at, byte] of FILE.entries()) {
      pieces.push(Uint8Array.of(byte))
      const parts = search.find(pieces)
      if (parts === null) continue
      found.push(at)
      expect(Buffer.concat(parts)).toEqual(Buffer.of(1, 2, 3))
    }
    // The last four bytes are the other tensor's.
    expect(found).toEqual([5, 4, 3, 2, 1].map((fromEnd) => FILE.length - fromEnd))
  })

  test('a tensor of another file is not found', () => {
    expect(new TensorSearch('c').find([FILE])).toBeNull()
  })
})

test('readPieces reads up to the end that is wanted, readWhole everything, and a file that got shorter is an error', async () => {
  const path = join(temporaryFolder(), 'x.safetensors')
  writeFileSync(path, FILE)
  const shard = { path, end: FILE.length - 4, whole: false }
  expect(Buffer.concat(await readPieces(shard, () => {}))).toEqual(Buffer.from(FILE.subarray(0, -4)))
  expect(Buffer.concat(await readWhole(shard, () => {}))).toEqual(Buffer.from(FILE))
  const longer = { ...shard, end: FILE.length + 1 }
  await expect(readPieces(longer, () => {})).rejects.toMatchObject({ code: 'FILE_ENDED_EARLY' })
})
