import { expect, test } from 'vitest'
import { kindOf } from '../src/shaped.ts'

test('kindOf() tells dtypes and shapes apart, and nothing else', () => {
  expect(kindOf({ dtype: 'F32', shape: [2, 3] })).toBe(kindOf({ dtype: 'F32', shape: [2, 3] }))
  const kinds = [
    kindOf({ dtype: 'F32', shape: [2, 3] }),
    kindOf({ dtype: 'F16', shape: [2, 3] }),
    kindOf({ dtype: 'F32', shape: [23] }),
    kindOf({ dtype: 'F32', shape: [] }),
  ]
  expect(new Set(kinds).size).toBe(4)
})
