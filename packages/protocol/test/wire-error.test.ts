import { describe, expect, it } from 'vitest'
import { decodeBody, encodeBody } from '../src/body.ts'
import {
  CoordinatorError,
  type CoordinatorErrorCode,
  fromWire,
  ProtocolError,
  toWire,
  type WireError,
} from '../src/index.ts'
import { wireError } from '../src/wire-error.ts'

function overTheWire(error: unknown): Error {
  return fromWire(wireError(decodeBody(encodeBody(toWire(error))), 'error'))
}

const plain: WireError = { name: 'Error', code: null, message: '', fields: {}, cause: null }

describe('an error on the wire', () => {
  it('is a CoordinatorError again, with all its fields', () => {
    const holders = [{ checkpoint: 'b', version: 2, heldBytes: 5_000_000_000, leases: 3, pinned: true }]
    const error = new CoordinatorError('BUDGET_EXCEEDED', 'Cannot load "a"', {
      checkpoint: 'a',
      version: 1,
      candidates: ['b'],
      holders,
      path: '/models/a',
    })
    const received = overTheWire(error)
    expect(received).toBeInstanceOf(CoordinatorError)
    expect({ ...received }).toEqual({ ...error })
    expect(received.message).toBe('Cannot load "a"')
  })

  it('is a ProtocolError again, with all its fields', () => {
    const versions = { coordinatorProtocols: { oldest: 1, newest: 2 }, clientProtocols: { oldest: 4, newest: 4 } }
    const error = new ProtocolError('PROTOCOL_VERSION_MISMATCH', 'x', { ...versions, field: 'f', actual: 1, limit: 2 })
    const received = overTheWire(error)
    expect(received).toBeInstanceOf(ProtocolError)
    expect({ ...received }).toEqual({ ...error })
  })

  it('keeps name, code, message and data of errors from elsewhere', () => {
    const system = Object.assign(new Error('open failed'), { code: 'ENOENT', errno: -2, syscall: 'open', path: '/x' })
    const received = overTheWire(new CoordinatorError('LOAD_FAILED', 'Cannot load', { cause: system }))
    expect(received).toMatchObject({
      causeCode: 'ENOENT',
      cause: { name: 'Error', code: 'ENOENT', path: '/x', errno: -2 },
    })
    expect((received.cause as Error).message).toBe('open failed')
    class FormatError extends Error {
      override readonly name = 'FormatError'
    }
    expect(overTheWire(new FormatError('x'))).toMatchObject({ name: 'FormatError', message: 'x' })
  })

  it('keeps two causes and no more', () => {
    const error = new Error('0', { cause: new Error('1', { cause: new Error('2', { cause: new Error('3') }) }) })
    const received = overTheWire(error) as { cause: { cause: Error } }
    expect(received.cause.cause.message).toBe('2')
    expect(received.cause.cause.cause).toBeUndefined()
    const own = new Error('a')
    own.cause = own
    expect(overTheWire(own)).toMatchObject({ message: 'a', cause: { message: 'a', cause: { message: 'a' } } })
  })

  it('never carries a stack, nor anything that is not plain', () => {
    const error = Object.assign(new Error('x'), {
      socket: new Map(),
      when: new Date(),
      run: () => 1,
      bytes: Buffer.of(1),
      not: Number.NaN,
      big: 1n,
      missing: undefined,
      inner: { run: () => 1, kept: ['a', undefined, 1], date: new Date() },
    })
    expect(toWire(error)).toEqual({ ...plain, message: 'x', fields: { inner: { kept: ['a', 1] } } })
    expect(JSON.stringify(toWire(new CoordinatorError('NAME_INVALID', 'x', { cause: error })))).not.toContain(
      'wire-error.test',
    )
  })

  it('is never larger than a frame, nor does it fail, whatever was thrown', () => {
    const huge = Object.assign(new Error('ü'.repeat(1e6)), {
      candidates: Array.from({ length: 1e5 }, () => 'n'.repeat(1e5)),
      [`${'k'.repeat(1e6)}`]: 1,
      half: '\ud800',
      code: 'C'.repeat(1e6),
    })
    huge.name = 'N'.repeat(1e6)
    expect(encodeBody(toWire(huge)).byteLength).toBeLessThan(4 * 1024 * 1024)
    expect(() => overTheWire(huge)).not.toThrow()
    const circular: { self?: unknown } = {}
    circular.self = circular
    expect(() => overTheWire(Object.assign(new Error('x'), { circular }))).not.toThrow()
    for (const thrown of [undefined, null, 7, 'text', {}, Object.create(null), Symbol('s')]) {
      expect(overTheWire(thrown)).toBeInstanceOf(Error)
    }
    expect(overTheWire('text').message).toBe('text')
  })
})

describe('fromWire', () => {
  it('leaves out fields of the wrong type', () => {
    const fields = { checkpoint: 7, version: 'x', candidates: [1], holders: [{}], path: '/kept' }
    const received = fromWire({ ...plain, name: 'CoordinatorError', code: 'LOAD_FAILED', fields })
    expect(received).toMatchObject({ path: '/kept', checkpoint: undefined, candidates: undefined, holders: undefined })
  })

  it('makes an ordinary error of a code that this version does not know', () => {
    const received = fromWire({ ...plain, name: 'CoordinatorError', code: 'FROM_THE_FUTURE', message: 'x' })
    expect(received).not.toBeInstanceOf(CoordinatorError)
    expect(received).toMatchObject({ name: 'CoordinatorError', code: 'FROM_THE_FUTURE', message: 'x' })
  })

  it('does not let fields replace what an error has', () => {
    const fields = JSON.parse('{"stack":"s","toString":1,"message":"m","constructor":1,"__proto__":{"x":1},"fine":1}')
    const received = fromWire({ ...plain, message: 'kept', fields })
    expect(received).toMatchObject({ message: 'kept', fine: 1 })
    expect(received.stack).not.toBe('s')
    expect(String(received)).toBe('Error: kept')
    expect((received as { x?: number }).x).toBeUndefined()
  })

  it('knows every code of CoordinatorError', () => {
    const code: CoordinatorErrorCode = 'RESUME_REFUSED'
    expect(fromWire(toWire(new CoordinatorError(code, 'x')))).toBeInstanceOf(CoordinatorError)
  })
})
