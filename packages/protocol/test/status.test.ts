import { describe, expect, it } from 'vitest'
import { decodeBody, encodeBody } from '../src/body.ts'
import { coordinatorStatus, fitStatus, source } from '../src/status.ts'
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

describe('fitStatus()', () => {
  const client = STATUS.clients[0]!
  const checkpoint = STATUS.checkpoints[0]!

  it('leaves a status of usual size as it is', () => {
    expect(fitStatus(STATUS)).toEqual(STATUS)
  })

  it.each([
    ['clients', { clients: Array(40_000).fill(client) }],
    ['leases', { clients: Array(100).fill({ ...client, leases: Array(1024).fill(client.leases[0]) }) }],
    ['versions', { checkpoints: Array(10_000).fill(checkpoint) }],
    ['files', { checkpoints: Array(10).fill({ ...checkpoint, source: Array(4095).fill('x'.repeat(4000)) }) }],
  ])('makes one with many %s fit, and counts what is left out', (_, much) => {
    const status = { ...STATUS, ...much, omittedClients: 0 }
    const fitting = fitStatus(status)
    const decoded = coordinatorStatus(decodeBody(encodeBody(fitting)), '')
    expect(decoded).toEqual(fitting)
    expect(fitting.clients.length + fitting.omittedClients).toBe(status.clients.length)
    expect(fitting.checkpoints.length + fitting.omittedCheckpoints).toBe(status.checkpoints.length)
    expect(fitting.omittedClients + fitting.omittedCheckpoints).toBeGreaterThan(0)
  })

  it('leaves out what is too large, and keeps what comes after it', () => {
    const large = { ...checkpoint, source: Array(4095).fill('x'.repeat(4000)) }
    const fitting = fitStatus({ ...STATUS, checkpoints: [large, checkpoint] })
    expect(fitting).toMatchObject({ checkpoints: [checkpoint], omittedCheckpoints: 1 })
  })
})
