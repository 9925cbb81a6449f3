import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { tries } from '../../../test/many-inputs.ts'
import { parseGlob } from '../src/glob.ts'
import { globMatcher } from '../src/glob-matcher.ts'

const matches = (glob: string, name: string) => globMatcher(parseGlob(glob))(name) !== null

/** A glob, and a regular expression that says the same in another language: the oracle. */
interface Pair {
  readonly glob: string
  readonly regex: string
}

const text = fc
  .stringMatching(/^[ab.0]{1,3}$/)
  .map((word): Pair => ({ glob: word, regex: word.replaceAll('.', '\\.') }))
const wild = fc.constantFrom<Pair>(
  { glob: '*', regex: '[^.]*?' },
  { glob: '**', regex: '[^]*?' },
  { glob: '?', regex: '[^]' },
)
const choice = fc.array(fc.array(fc.oneof(text, wild), { maxLength: 2 }), { minLength: 2, maxLength: 3 }).map(
  (options): Pair => ({
    glob: `{${options.map((parts) => parts.map(({ glob }) => glob).join('')).join()}}`,
    regex: `(?:${options.map((parts) => parts.map(({ regex }) => regex).join('')).join('|')})`,
  }),
)
const part = fc.oneof(text, wild, choice)
/** With a number between dots, so that no digit of the rest can stand beside it. */
const globs = fc.tuple(fc.array(part, { maxLength: 4 }), fc.array(part, { maxLength: 4 }), fc.boolean()).map(
  ([before, after, number]): Pair => ({
    glob: [...before, { glob: number ? '.{layer}.' : '' }, ...after].map(({ glob }) => glob).join(''),
    regex: [...before, { regex: number ? '\\.(?<layer>\\d{1,15})\\.' : '' }, ...after]
      .map(({ regex }) => regex)
      .join(''),
  }),
)

describe('globMatcher()', () => {
  test('* stops at dots, ** does not, ? is one character of any kind', () => {
    expect(matches('a.*.c', 'a.b.c')).toBe(true)
    expect(matches('a.*.c', 'a.b.b.c')).toBe(false)
    expect(matches('a.**.c', 'a.b.b.c')).toBe(true)
    expect(matches('a?c', 'a😀c')).toBe(true)
    expect(matches('a?c', 'ac')).toBe(false)
    expect(matches('**', '')).toBe(true)
  })

  test('matches whole names only', () => {
    expect(matches('b', 'abc')).toBe(false)
    expect(matches('{a,b}', 'ab')).toBe(false)
    expect(matches('{a,ab}', 'ab')).toBe(true)
  })

  test('a number is all the digits in a row, at most fifteen', () => {
    const find = globMatcher(parseGlob('**{layer}**'))
    expect(find('model.layers.12.w')).toEqual({ layerAt: 13, expertAt: -1 })
    expect(find('h7')).toEqual({ layerAt: 1, expertAt: -1 })
    expect(find('none')).toBeNull()
    expect(find('x'.repeat(3) + '9'.repeat(15))).toEqual({ layerAt: 3, expertAt: -1 })
    expect(find('x'.repeat(3) + '9'.repeat(16))).toBeNull()
    expect(find(`${'9'.repeat(16)}.4`)).toEqual({ layerAt: 17, expertAt: -1 })
  })

  test('the first number that fits counts', () => {
    const find = globMatcher(parseGlob('**.{layer}.**.{expert}.w'))
    expect(find('m.1.2.x.3.4.w')).toEqual({ layerAt: 2, expertAt: 10 })
  })

  test('says what a regular expression with the same meaning says, numbers included', () => {
    const names = fc.stringMatching(/^[ab.0]{0,12}$/)
    fc.assert(
      fc.property(globs, fc.array(names, { minLength: 1, maxLength: 8 }), ({ glob, regex }, tried) => {
        const find = globMatcher(parseGlob(glob))
        // Stars side by side are two stars, wherever they come from.
        const joined = regex.replace(/(?:\[\^\.?\]\*\?){2,}/g, '[^]*?')
        const oracle = new RegExp(`^(?:${joined})$`, 'du')
        for (const name of tried) {
          const expected = oracle.exec(name)
          const layerAt = expected?.indices?.groups?.['layer']?.[0] ?? -1
          expect([name, find(name)]).toEqual([name, expected === null ? null : { layerAt, expertAt: -1 }])
        }
      }),
      tries(200),
    )
  })

  // A matcher that tries all ways would need more than 10^30 steps here, and never come back.
  test('comes back from names and globs that are made to keep it busy', () => {
    const name = 'a'.repeat(2000)
    expect(matches(`${'**a'.repeat(20)}**?{b,c}`, name)).toBe(false)
    expect(matches(`${'{a,?}'.repeat(200)}{b,.}`, name.slice(0, 200))).toBe(false)
    expect(matches(`${'*'.repeat(3)}a${'*?'.repeat(50)}`, name)).toBe(true)
  })

  test('remembers nothing of one name when it comes to the next', () => {
    const find = globMatcher(parseGlob('**a*{b,c}*'))
    const long = 'xa'.repeat(50)
    expect(find(long)).toBeNull()
    expect(find('xab')).not.toBeNull()
    expect(find(`${long}b`)).not.toBeNull()
    expect(find(long)).toBeNull()
  })
})
