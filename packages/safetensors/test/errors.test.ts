import { describe, expect, test } from 'vitest'
import { quoteName, SafetensorsError, withPath } from '../src/errors.ts'

describe('SafetensorsError', () => {
  test('carries code, tensor, details and cause', () => {
    const cause = new RangeError('cause')
    const error = new SafetensorsError('SAFETENSORS_INVALID_OFFSET', 'message', {
      tensor: 'a',
      details: { begin: 4 },
      cause,
    })
    expect(error).toMatchObject({ name: 'SafetensorsError', code: 'SAFETENSORS_INVALID_OFFSET', tensor: 'a' })
    expect(error.details).toEqual({ begin: 4 })
    expect(error.cause).toBe(cause)
    expect(error.path).toBeUndefined()
    expect(error).toBeInstanceOf(Error)
  })

  test('has no cause of its own and empty details without fields', () => {
    const error = new SafetensorsError('SAFETENSORS_INVALID_INDEX', 'message')
    expect('cause' in error).toBe(false)
    expect(error.details).toEqual({})
  })
})

describe('withPath()', () => {
  test('keeps code and fields and adds the file', () => {
    const error = new SafetensorsError('SAFETENSORS_INVALID_OFFSET', 'A sentence', {
      tensor: 'a',
      details: { begin: 4 },
      cause: 1,
    })
    const located = withPath(error, '/models/x.safetensors')
    expect(located).toBeInstanceOf(SafetensorsError)
    expect(located).toMatchObject({
      code: 'SAFETENSORS_INVALID_OFFSET',
      message: 'A sentence (file "/models/x.safetensors")',
      tensor: 'a',
      path: '/models/x.safetensors',
      details: { begin: 4 },
      cause: 1,
    })
  })

  test('leaves alone an error that has a file, and other values', () => {
    const located = withPath(new SafetensorsError('SAFETENSORS_INVALID_INDEX', 'A'), 'first')
    expect(withPath(located, 'second')).toBe(located)
    const other = new TypeError('other')
    expect(withPath(other, 'x')).toBe(other)
    expect(withPath('text', 'x')).toBe('text')
  })
})

describe('quoteName()', () => {
  test('quotes and escapes', () => {
    expect(quoteName('a.b')).toBe('"a.b"')
    expect(quoteName('')).toBe('""')
    expect(quoteName('a"\n\u0000')).toBe('"a\\"\\n\\u0000"')
    expect(quoteName('\u001b[31m\u009b\u202e')).toBe('"\\u001b[31m\\u009b\\u202e"')
    expect(quoteName('é')).toBe('"é"')
  })

  test('shortens a long name and splits no pair', () => {
    expect(quoteName('x'.repeat(81))).toBe(`"${'x'.repeat(80)}…"`)
    expect(quoteName('x'.repeat(80))).toBe(`"${'x'.repeat(80)}"`)
    expect(quoteName(`${'x'.repeat(79)}😀y`)).toBe(`"${'x'.repeat(79)}…"`)
  })
})
