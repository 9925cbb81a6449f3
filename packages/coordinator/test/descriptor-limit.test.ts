import { describe, expect, it } from 'vitest'
import { clientsThatFit } from '../src/descriptor-limit.ts'
import { refusal } from './support.ts'

describe('clientsThatFit()', () => {
  it('is 1024, or what the limit of open files leaves room for', () => {
    expect(
      [Number.POSITIVE_INFINITY, 1_048_576, 1280, 1024, 256, 64].map((limit) => clientsThatFit(undefined, limit)),
    ).toEqual([1024, 1024, 1024, 768, 16, 16])
    expect(clientsThatFit(undefined)).toBeGreaterThanOrEqual(16)
  })

  it('is what the caller says, if there is room for it', async () => {
    expect([clientsThatFit(5000, 10_000), clientsThatFit(1, 1024), clientsThatFit(16, 64)]).toEqual([5000, 1, 16])
    const error = await refusal(() => clientsThatFit(1000, 1024))
    expect(error).toBeInstanceOf(RangeError)
    expect(error.message).toBe(
      'The option maxClients is 1000; it must be 768 at most, since this process may have 1024 files open and needs 256 of them itself (raise it with ulimit -n 1256)',
    )
  })
})
