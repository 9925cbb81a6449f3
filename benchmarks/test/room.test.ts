import { expect, it } from 'vitest'
import { chooseBytes } from '../cold-start/room.mjs'

const ROOMY = { wantedBytes: 8e9, leastBytes: 1e9, copies: 2, memoryBytes: 64e9, diskBytes: 64e9 }

it('chooseBytes() takes what is wanted where there is room', () => {
  expect(chooseBytes(ROOMY)).toEqual({ byteLength: 8e9, reason: null })
})

it('chooseBytes() takes what memory and disk hold as often as they must, and says why', () => {
  expect(chooseBytes({ ...ROOMY, memoryBytes: 9e9 })).toEqual({
    byteLength: 4e9,
    reason: '9000000000 bytes of memory and 64000000000 bytes of disk are free',
  })
  expect(chooseBytes({ ...ROOMY, diskBytes: 8e9 }).byteLength).toBe(3e9)
})

it('chooseBytes() refuses where not even the least fits, with what was found and what is required', () => {
  expect(() => chooseBytes({ ...ROOMY, memoryBytes: 2e9 })).toThrow(
    'Cannot measure a cold start: 2000000000 bytes of memory and 64000000000 bytes of disk are free, required are 3000000000 and 4000000000',
  )
})
