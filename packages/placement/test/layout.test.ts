import { createHash } from 'node:crypto'
import { layoutText, tensorIndex } from '@onecopy/safetensors'
import { describe, expect, test } from 'vitest'
import { layoutOf } from '../src/layout.ts'

const index = tensorIndex(
  [{ name: 'ü.safetensors', byteLength: 100 }],
  [{ name: '重み', dtype: 'F32', shape: [2, 3], shard: 0, begin: 76, end: 100 }],
)

describe('layoutOf()', () => {
  test('is sha256 of the layout text as UTF-8', () => {
    expect(layoutOf(index)).toBe(createHash('sha256').update(layoutText(index), 'utf8').digest('hex'))
  })

  test('changes with a tensor and with a shard', () => {
    const other = { ...index, shards: [{ name: 'ü.safetensors', byteLength: 101 }] }
    const moved = { ...index, tensors: [{ ...index.tensors[0]!, shape: [3, 2] }] }
    expect(new Set([layoutOf(index), layoutOf(other), layoutOf(moved)]).size).toBe(3)
  })
})
