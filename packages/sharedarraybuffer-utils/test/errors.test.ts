import { expect, test } from 'vitest'
import { SharedMemoryError } from '../src/errors.ts'

test('SharedMemoryError carries its code, its fields and its cause', () => {
  const cause = new TypeError('below')
  const fields = {
    path: '/x',
    syscall: 'mmap',
    errno: 12,
    errnoName: 'ENOMEM',
    actualBytes: 1,
    expectedBytes: 2,
    cause,
  }
  const error = new SharedMemoryError('MAP_FAILED', 'Cannot map', fields)
  expect(error).toBeInstanceOf(Error)
  expect(error).toMatchObject({ name: 'SharedMemoryError', code: 'MAP_FAILED', message: 'Cannot map', ...fields })
})

test('SharedMemoryError without fields has no cause', () => {
  const error = new SharedMemoryError('MAPPING_CLOSED', 'Closed')
  expect('cause' in error).toBe(false)
  expect(error.path).toBeUndefined()
})
