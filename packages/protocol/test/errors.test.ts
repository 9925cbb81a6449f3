import { describe, expect, it } from 'vitest'
import { CoordinatorError, ProtocolError } from '../src/index.ts'

describe('CoordinatorError', () => {
  it('takes the code of its cause as causeCode when none is given', () => {
    const cause = Object.assign(new Error('gone'), { code: 'SHARD_NOT_FOUND' })
    expect(new CoordinatorError('LOAD_FAILED', 'x', { cause })).toMatchObject({ causeCode: 'SHARD_NOT_FOUND', cause })
    expect(new CoordinatorError('LOAD_FAILED', 'x', { cause, causeCode: 'OTHER' }).causeCode).toBe('OTHER')
    expect(new CoordinatorError('LOAD_FAILED', 'x', { cause: { code: 7 } }).causeCode).toBeUndefined()
    expect(new CoordinatorError('LOAD_FAILED', 'x').causeCode).toBeUndefined()
    expect(new CoordinatorError('LOAD_FAILED', 'x')).not.toHaveProperty('cause')
  })
})

describe('ProtocolError', () => {
  it('carries its code, name and fields', () => {
    const error = new ProtocolError('FRAME_TOO_LARGE', 'x', { actual: 9, limit: 8 })
    expect(error).toMatchObject({ name: 'ProtocolError', code: 'FRAME_TOO_LARGE', actual: 9, limit: 8 })
  })
})
