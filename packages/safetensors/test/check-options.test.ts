import { describe, expect, it } from 'vitest'
import { checkArgument, checkOptions, type Rule, rules } from '../src/check-options.ts'

const known = { backing: rules.oneOf('file', 'sealed'), threads: rules.wholeNumber(1, 8), signal: rules.signal }
const check = (options: unknown) => () => checkOptions('open()', options, known)

describe('checkOptions()', () => {
  it('takes what fits, and options that were not given', () => {
    expect(check(undefined)).not.toThrow()
    expect(check({})).not.toThrow()
    expect(check({ backing: undefined, threads: 8, signal: AbortSignal.timeout(1) })).not.toThrow()
  })

  it('names an option that there is none of, and those that there are', () => {
    const message = 'open() has no option "bakcing"; its options are backing, threads, signal'
    expect(check({ bakcing: 'file' })).toThrow(new TypeError(message))
    expect(check({ toString: 'file' })).toThrow(TypeError)
    expect(check({ bakcing: undefined })).toThrow(TypeError)
  })

  it('throws a TypeError for another kind and a RangeError for another value', () => {
    expect(check({ threads: '4' })).toThrow(
      new TypeError('The option threads of open() is "4"; it must be a whole number from 1 to 8'),
    )
    for (const threads of [0, 9, 2.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(check({ threads })).toThrow(
        new RangeError(`The option threads of open() is ${threads}; it must be a whole number from 1 to 8`),
      )
    }
    expect(check({ backing: 'foo' })).toThrow(RangeError)
    expect(check({ backing: null })).toThrow(TypeError)
  })

  it('refuses options that are no object', () => {
    for (const options of [null, 'file', 3, [], () => {}]) expect(check(options)).toThrow(TypeError)
  })
})

describe('checkArgument()', () => {
  const failures: [Rule, unknown, string][] = [
    [rules.flag, 'yes', 'The thing is "yes"; it must be true or false'],
    [rules.text, undefined, 'The thing is undefined; it must be a text'],
    [rules.callback, {}, 'The thing is an object; it must be a function'],
    [rules.object, [1], 'The thing is a list of 1; it must be an object'],
    [rules.signal, new Map(), 'The thing is an object of class "Map"; it must be an AbortSignal'],
    [rules.wholeNumber(0), -1, 'The thing is -1; it must be a whole number, 0 or more'],
    [rules.listOf(rules.text), ['a', 1], 'The thing is a list of 2; it must be a list, each entry of which is a text'],
    [rules.instanceOf(Map, 'a Map'), 1n, 'The thing is 1n; it must be a Map'],
  ]

  it.each(failures)('says of %o what it must be', (rule, value, message) => {
    expect(() => checkArgument('The thing', value, rule)).toThrow(message)
  })

  it('takes lists of what fits, and nothing beside', () => {
    expect(() => checkArgument('It', [1, 2], rules.listOf(rules.wholeNumber(1)))).not.toThrow()
    expect(() => checkArgument('It', [1, 0], rules.listOf(rules.wholeNumber(1)))).toThrow(RangeError)
  })
})
