import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { mapFile } from '../src/mapping.ts'
import { describeWithAddon, temporaryFolder, writePattern } from './support.ts'

/** Bytes of read-only memory without a file, which is what an aligned copy is. Neighbours are merged into one line. */
function readOnlyAnonymousBytes(): number {
  let sum = 0
  for (const line of readFileSync('/proc/self/maps', 'utf8').split('\n')) {
    const [, begin, end] = /^([0-9a-f]+)-([0-9a-f]+) r--p 00000000 00:00 0\s*$/.exec(line) ?? []
    if (begin !== undefined) sum += Number.parseInt(end!, 16) - Number.parseInt(begin, 16)
  }
  return sum
}

describeWithAddon('alignedCopy()', () => {
  const PAGE = 4096

  test('gives the same bytes, and one copy to all who ask while one of them has it', () => {
    const path = writePattern(temporaryFolder(), 'bytes', 5000)
    using mapping = mapFile(path)
    const before = readOnlyAnonymousBytes()
    const copy = mapping.alignedCopy(1001, 4001)
    expect(new Uint8Array(copy)).toEqual(new Uint8Array(mapping.buffer(1001, 4001)))
    expect(readOnlyAnonymousBytes()).toBe(before + PAGE)
    using again = mapFile(path)
    expect(new Uint16Array(again.alignedCopy(1001, 4001)).at(7)).toBe(new Uint16Array(copy).at(7))
    expect(readOnlyAnonymousBytes()).toBe(before + PAGE)
    const other = again.alignedCopy(1003, 4001)
    expect(readOnlyAnonymousBytes()).toBe(before + 2 * PAGE)
    expect(other.byteLength + copy.byteLength).toBe(5998)
  })

  test('refuses what lies outside, and a closed mapping', () => {
    const mapping = mapFile(writePattern(temporaryFolder(), 'bytes', 12))
    expect(() => mapping.alignedCopy(3, 13)).toThrow(expect.objectContaining({ code: 'RANGE_OUT_OF_BOUNDS' }))
    expect(mapping.alignedCopy(3, 3).byteLength).toBe(0)
    mapping.close()
    expect(() => mapping.alignedCopy(3, 5)).toThrow(expect.objectContaining({ code: 'MAPPING_CLOSED' }))
  })
})
