import { describe, expect, test } from 'vitest'
import { fieldsOf, nearestHint, quoted } from '../src/fields.ts'

const fields = fieldsOf('POLICY_INVALID', 'policy')

describe('fieldsOf()', () => {
  test('object() leaves out what is undefined, and keeps the rest', () => {
    expect(fields.object({ a: 1, b: undefined, c: null }, 'x', ['a', 'b', 'c'])).toEqual({ a: 1, c: null })
  })

  test('object() names an unknown field with the nearest known one, or with all of them', () => {
    expect(() => fields.object({ spilt: 1 }, 'rules[2]', ['split', 'pin'])).toThrow(
      expect.objectContaining({
        code: 'POLICY_INVALID',
        field: 'rules[2].spilt',
        candidates: ['split'],
        message: 'rules[2] of a policy has no field "spilt" ("rules[2].spilt"); nearest: "split"',
      }),
    )
    expect(() => fields.object({ zzzzzzzz: 1 }, '', ['split', 'pin'])).toThrow(
      expect.objectContaining({ field: 'zzzzzzzz', candidates: ['split', 'pin'] }),
    )
  })

  test('object() takes neither arrays nor null nor fields of the prototype', () => {
    for (const value of [[], null, undefined, 'x', 1]) {
      expect(() => fields.object(value, 'x', [])).toThrow(/Policy field x is .*: it must be an object/)
    }
    expect(() => fields.object(JSON.parse('{"__proto__": 1}'), 'x', ['toString'])).toThrow(/no field "__proto__"/)
  })

  test('list() reads every entry at its own field, once there are enough of them', () => {
    const read = (entry: unknown, field: string) => `${field} ${fields.integer(entry, field, 0)}`
    expect(fields.list([5, 6], 'x', read)).toEqual(['x[0] 5', 'x[1] 6'])
    expect(fields.list([], 'x', read)).toEqual([])
    expect(() => fields.list([5, 'a'], 'x', read)).toThrow('Policy field x[1] is "a"')
    expect(() => fields.list(['a'], 'x', read, 2)).toThrow(
      'Policy field x is an array of 1: it must be an array of at least 2',
    )
    expect(() => fields.list({}, 'x', read)).toThrow('Policy field x is an empty object: it must be an array')
  })

  test('integer() says what the bounds are', () => {
    expect(fields.integer(3, 'x', 1, 3)).toBe(3)
    expect(() => fields.integer(4, 'x', 1, 3)).toThrow('Policy field x is 4: it must be an integer from 1 to 3')
    expect(() => fields.integer(0, 'x', 1)).toThrow('Policy field x is 0: it must be a positive integer')
    expect(() => fields.integer(-1, 'x', 0)).toThrow('Policy field x is -1: it must be an integer of at least 0')
    for (const value of [1.5, Number.NaN, 2 ** 53, '1', 1n, null]) {
      expect(() => fields.integer(value, 'x', Number.MIN_SAFE_INTEGER)).toThrow(/it must be an integer$/)
    }
  })

  test('oneOf() offers the nearest choice', () => {
    expect(fields.oneOf('tp', 'x', ['tp', 'ep'])).toBe('tp')
    expect(() => fields.oneOf('blanced', 'objective', ['balanced', 'sticky'])).toThrow(
      expect.objectContaining({
        candidates: ['balanced'],
        message: 'Policy field objective is "blanced": it must be one of "balanced", "sticky"',
      }),
    )
  })

  test('array() and string() refuse what is empty or another type', () => {
    expect(fields.array([], 'x')).toEqual([])
    expect(() => fields.array([], 'x', 1)).toThrow(
      'Policy field x is an empty array: it must be an array of at least 1',
    )
    expect(() => fields.array({ length: 1 }, 'x')).toThrow('Policy field x is an object: it must be an array')
    expect(() => fields.string('', 'x')).toThrow('Policy field x is "": it must be a string that is not empty')
  })
})

test('quoted() and nearestHint() write names as messages show them', () => {
  expect(quoted(['a', 'b"c'])).toBe(String.raw`"a", "b\"c"`)
  expect(nearestHint([])).toBe('')
  expect(nearestHint(['a'])).toBe('; nearest: "a"')
})
