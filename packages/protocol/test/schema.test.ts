import { describe, expect, it } from 'vitest'
import {
  countOr,
  list,
  listOrNone,
  name,
  nullable,
  object,
  oneOf,
  printableText,
  text,
  union,
  wholeNumber,
} from '../src/schema.ts'

function refusal(message: string, field?: string): object {
  return expect.objectContaining({ code: 'MESSAGE_INVALID', message, ...(field !== undefined && { field }) })
}

describe('wholeNumber', () => {
  it.each([-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, '1', 1n, null, undefined, true])(
    'refuses %s',
    (bad) => {
      expect(() => wholeNumber(bad, 'id')).toThrow(expect.objectContaining({ code: 'MESSAGE_INVALID', field: 'id' }))
    },
  )

  it('takes 0 and 2^53 - 1', () => {
    expect([0, 2 ** 53 - 1].map((good) => wholeNumber(good, 'id'))).toEqual([0, 2 ** 53 - 1])
  })
})

describe('text', () => {
  it('counts bytes, not code units', () => {
    expect(text(4)('🦙', 'x')).toBe('🦙')
    expect(() => text(3)('🦙', 'x')).toThrow(refusal('Invalid message: x is longer than 3 bytes', 'x'))
  })

  it('is printable when it is shown to people', () => {
    expect(printableText(9)('a b ü', 'x')).toBe('a b ü')
    for (const bad of ['a\nb', '\u001b[2J', '\u009b', '\0'])
      expect(() => printableText(9)(bad, 'x')).toThrow(/printable/)
  })
})

describe('object', () => {
  const check = object<{ a: number; inner: readonly { b: string | null }[] }>({
    a: wholeNumber,
    inner: list(object<{ b: string | null }>({ b: nullable(name) }), 2),
  })

  it('leaves out unknown fields and reads an absent nullable one as null', () => {
    expect(check({ a: 1, more: 2, inner: [{ b: 'x', c: 3 }, {}] }, '')).toEqual({
      a: 1,
      inner: [{ b: 'x' }, { b: null }],
    })
  })

  it('names the place of what is wrong', () => {
    expect(() => check({ a: 1, inner: [{}, { b: 7 }] }, '')).toThrow(
      refusal('Invalid message: inner[1].b is 7, it must be a string', 'inner[1].b'),
    )
    expect(() => check({ a: 1, inner: {} }, '')).toThrow(refusal('Invalid message: inner is a map, it must be a list'))
    expect(() => check({ a: 1, inner: [1, 2, 3] }, '')).toThrow(/inner is a list of 3, it must be a list of at most 2/)
    expect(() => check({ inner: [] }, '')).toThrow(/a is missing/)
  })

  it('takes nothing from prototypes', () => {
    const inherits = object<{ valueOf: number }>({ valueOf: wholeNumber })
    expect(() => inherits({}, '')).toThrow(
      refusal('Invalid message: valueOf is missing, it must be a whole number from 0 to 2^53 - 1'),
    )
  })
})

describe('fields that came later', () => {
  it('read as none when they are absent, and are checked when they are there', () => {
    const check = object<{ names: readonly string[]; count: number }>({
      names: listOrNone(name, 2),
      count: countOr(0),
    })
    expect(check({}, '')).toEqual({ names: [], count: 0 })
    expect(check({ names: ['a', 'b'], count: 3 }, '')).toEqual({ names: ['a', 'b'], count: 3 })
    expect(() => check({ names: ['a', 'b', 'c'] }, '')).toThrow(/names is a list of 3/)
    expect(() => check({ names: [1] }, '')).toThrow(/names\[0\] is 1/)
    expect(() => check({ names: null }, '')).toThrow(/names is null/)
    expect(() => check({ count: null }, '')).toThrow(/count is null/)
    expect(() => check({ count: -1 }, '')).toThrow(/count is -1/)
  })
})

describe('union', () => {
  const check = union<{ type: 'a' } | { type: 'b' }>({
    a: object<{ type: 'a' }>({ type: oneOf('a') }),
    b: object<{ type: 'b' }>({ type: oneOf('b') }),
  })

  it('refuses types that it does not know, and quotes little of them', () => {
    expect(check({ type: 'b' }, '')).toEqual({ type: 'b' })
    for (const bad of ['c', 'constructor', '__proto__', 1, null, undefined, [], {}]) {
      expect(() => check({ type: bad }, '')).toThrow(
        expect.objectContaining({ code: 'MESSAGE_INVALID', field: 'type' }),
      )
    }
    const thrown = (() => {
      try {
        return check({ type: `\u001b${'x'.repeat(1e6)}` }, '')
      } catch (error) {
        return error as Error
      }
    })()
    expect((thrown as Error).message.length).toBeLessThan(200)
    expect((thrown as Error).message).not.toContain('\u001b')
  })

  it.each([null, 1, 'text', [], true])('refuses a body that is %s', (bad) => {
    expect(() => check(bad, '')).toThrow(expect.objectContaining({ code: 'MESSAGE_INVALID' }))
  })
})
