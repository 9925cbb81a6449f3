import { expect, test } from 'vitest'
import { compareDtypes, DTYPE_NAMES, DTYPES, dtypeBits, isDtype } from '../src/dtype.ts'

test('DTYPES lists the types in the ascending order of the serializer', () => {
  expect(Object.entries(DTYPES)).toEqual([
    ['BOOL', 8],
    ['F4', 4],
    ['F6_E2M3', 6],
    ['F6_E3M2', 6],
    ['U8', 8],
    ['I8', 8],
    ['F8_E5M2', 8],
    ['F8_E4M3', 8],
    ['F8_E8M0', 8],
    ['F8_E4M3FNUZ', 8],
    ['F8_E5M2FNUZ', 8],
    ['I16', 16],
    ['U16', 16],
    ['F16', 16],
    ['BF16', 16],
    ['I32', 32],
    ['U32', 32],
    ['F32', 32],
    ['C64', 64],
    ['F64', 64],
    ['I64', 64],
    ['U64', 64],
  ])
  expect(DTYPE_NAMES).toEqual(Object.keys(DTYPES))
  expect(Object.isFrozen(DTYPES) && Object.isFrozen(DTYPE_NAMES)).toBe(true)
})

test('dtypeBits() gives the size of an element', () => {
  expect(dtypeBits('F4')).toBe(4)
  expect(dtypeBits('BF16')).toBe(16)
})

test('isDtype() refuses another case, inherited names and other types', () => {
  expect(isDtype('F32')).toBe(true)
  for (const value of ['f32', '', 'toString', '__proto__', 'F128', null, undefined, 8])
    expect(isDtype(value)).toBe(false)
})

test('compareDtypes() orders as DTYPES does', () => {
  expect([...DTYPE_NAMES].reverse().sort(compareDtypes)).toEqual(DTYPE_NAMES)
})
