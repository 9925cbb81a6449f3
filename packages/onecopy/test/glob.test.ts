import { describe, expect, test } from 'vitest'
import { globMatcher } from '../src/commands/glob.ts'

describe('globMatcher', () => {
  test.each([
    ['*', 'model.layers.0.weight', true],
    ['*', '', true],
    ['*', 'two\nlines', true],
    ['*.weight', 'a.b.weight', true],
    ['*.weight', 'a.weight.scale', false],
    ['layers.?.w', 'layers.7.w', true],
    ['layers.?.w', 'layers.17.w', false],
    ['layers.[0-3].w', 'layers.2.w', true],
    ['layers.[0-3].w', 'layers.4.w', false],
    ['layers.[!0-3].w', 'layers.4.w', true],
    ['{q,k}_proj.*', 'k_proj.weight', true],
    ['{q,k}_proj.*', 'v_proj.weight', false],
    ['a,b', 'a,b', true],
    ['[', '[', true],
    ['{', '{', true],
    ['a}', 'a}', true],
    ['[]]', ']', true],
    ['[\\d]', 'd', true],
    ['[\\d]', '7', false],
    ['\\*', '*', true],
    ['\\*', 'a', false],
    ['a+(b)|c$^.', 'a+(b)|c$^.', true],
    ['a+b', 'aab', false],
    ['a.b', 'axb', false],
    ['*a*b', 'xaxbxab', true],
    ['*a*b', 'xaxbxa', false],
    ['a{*,?}c', 'abbc', true],
    ['a{}c', 'ac', true],
    ['[z-a]', 'm', false],
    ['[a-]', '-', true],
    ['?', '', false],
  ])('%j against %j: %s', (glob, name, matches) => {
    expect(globMatcher(glob)(name)).toBe(matches)
  })

  test('refuses a hostile name of a million characters at once', () => {
    expect(globMatcher('*a*a*a*a*a*b')('a'.repeat(1_000_000))).toBe(false)
  })
})
