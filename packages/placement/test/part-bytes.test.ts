import { expect, test } from 'vitest'
import { BytesByKind } from '../src/part-bytes.ts'

const rows = (begin: number, end: number) => [[begin, end] as const]

test('PartBytes counts disjoint parts, and what they have in common with others, each byte once', () => {
  const bytes = new BytesByKind().of({ name: 'w', dtype: 'F32', shape: [8, 2] })
  expect(bytes.sum([rows(0, 2), rows(4, 5)])).toBe(24)
  expect(bytes.sum([])).toBe(0)
  expect(bytes.common([rows(0, 4), rows(6, 8)], [rows(1, 3), rows(2, 7)])).toBe(32)
  expect(bytes.common([rows(0, 4)], [])).toBe(0)
})

test('BytesByKind tells tensors apart by type and shape, not by name', () => {
  const kinds = new BytesByKind()
  const whole = [[]]
  const w = kinds.of({ name: 'w', dtype: 'F32', shape: [8, 2] })
  expect(kinds.of({ name: 'v', dtype: 'F32', shape: [8, 2] })).toBe(w)
  expect(w.sum(whole)).toBe(64)
  expect(kinds.of({ name: 'w', dtype: 'U8', shape: [8, 2] }).sum(whole)).toBe(16)
})
