import { describe, expect, it } from 'vitest'
import { coordinatorStatus, source } from '../src/status.ts'
import { STATUS } from './support.ts'

describe('coordinatorStatus', () => {
  it('keeps a whole status', () => {
    expect(coordinatorStatus(STATUS, 'status')).toEqual(STATUS)
  })

  it('names the place of what is wrong in a version', () => {
    const broken = structuredClone(STATUS)
    Object.assign(broken.checkpoints[0]!.versions[2]!, { state: 'asleep' })
    expect(() => coordinatorStatus(broken, 'status')).toThrow(
      /status\.checkpoints\[0\]\.versions\[2\]\.state is "asleep"/,
    )
  })
})

describe('source', () => {
  it('is a path or a list of paths', () => {
    expect(source('/a', 'source')).toBe('/a')
    expect(source(['/a', '/b'], 'source')).toEqual(['/a', '/b'])
    for (const bad of [1, null, {}, [1], 'x'.repeat(5000)]) expect(() => source(bad, 'source')).toThrow(/source/)
  })
})
