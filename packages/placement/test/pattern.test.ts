import { describe, expect, test } from 'vitest'
import { PlacementError } from '../src/errors.ts'
import { compilePattern } from '../src/pattern.ts'
import type { Pattern } from '../src/policy.ts'

const match = (pattern: Pattern, name: string) => compilePattern(pattern, 'rules[0].match').match(name)

function errorOf(run: () => unknown): PlacementError {
  try {
    run()
  } catch (error) {
    expect(error).toBeInstanceOf(PlacementError)
    return error as PlacementError
  }
  throw new Error('nothing was thrown')
}

describe('compilePattern() of a glob', () => {
  test('remembers numbers, and the text before the layer', () => {
    const found = match(
      '**.layers.{layer}.mlp.experts.{expert}.*_proj.weight',
      'm.layers.012.mlp.experts.3.up_proj.weight',
    )
    expect(found).toEqual({ layer: 12, expert: 3, stack: 'm.layers.' })
    expect(match('lm_head.*', 'lm_head.weight')).toEqual({ layer: null, expert: null, stack: '' })
    expect(match('experts.{expert}.w', 'experts.0.w')).toMatchObject({ layer: null, expert: 0, stack: '' })
    expect(match('lm_head.*', 'model.lm_head.weight')).toBeNull()
  })

  test('says which numbers it remembers, and how it looks in messages', () => {
    expect(compilePattern('a.{layer}', 'f')).toMatchObject({
      text: '"a.{layer}"',
      captures: { layer: true, expert: false },
    })
    expect(compilePattern('a.{expert}', 'f').captures).toEqual({ layer: false, expert: true })
  })

  test('names the field and the fault of a glob that is none', () => {
    const error = errorOf(() => compilePattern('model.{lyer}.**', 'together[1][0]'))
    expect(error).toMatchObject({ code: 'POLICY_INVALID', field: 'together[1][0]' })
    expect(error.message).toMatch(/^The pattern together\[1\]\[0\] "model\.\{lyer\}\.\*\*" has \{lyer\}/)
    expect(errorOf(() => compilePattern('', 'rules[0].match')).message).toMatch(/is empty/)
    expect(errorOf(() => compilePattern('a'.repeat(10_001), 'f')).message).toMatch(
      /has 10001 characters.*at most 10000/,
    )
  })
})

describe('compilePattern() of a regular expression', () => {
  test('matches the whole name, whatever its alternatives', () => {
    expect(match({ regex: 'a|b' }, 'a')).not.toBeNull()
    expect(match({ regex: 'a|b' }, 'ab')).toBeNull()
    expect(match({ regex: '\\p{L}+' }, 'é')).not.toBeNull()
    expect(match({ regex: 'a' }, 'a\n')).toBeNull()
  })

  test('remembers the groups layer and expert', () => {
    const regex = String.raw`(?:enc|dec)\.(?<layer>\d+)(?:\.e(?<expert>\d+))?\.w`
    expect(match({ regex }, 'enc.07.e5.w')).toEqual({ layer: 7, expert: 5, stack: 'enc.' })
    expect(match({ regex }, 'dec.7.w')).toMatchObject({ layer: 7, expert: null, stack: 'dec.' })
    expect(compilePattern({ regex }, 'f')).toMatchObject({
      text: `/${regex}/`,
      captures: { layer: true, expert: true },
    })
    expect(compilePattern({ regex: 'a' }, 'f').captures).toEqual({ layer: false, expert: false })
  })

  test('refuses what is no regular expression, brackets that only close from outside included', () => {
    for (const regex of ['(', 'a)|(b', '\\8']) {
      const error = errorOf(() => compilePattern({ regex }, 'rules[2].match'))
      expect(error).toMatchObject({ code: 'POLICY_INVALID', field: 'rules[2].match' })
      expect(error.message).toMatch(/is no regular expression/)
    }
  })

  test('refuses a layer that is no number once it meets one', () => {
    const { match: find } = compilePattern({ regex: '(?<layer>.*)\\.w' }, 'rules[0].match')
    expect(find('3.w')).toMatchObject({ layer: 3 })
    const error = errorOf(() => find('x.w'))
    expect(error.message).toMatch(/takes "x" of tensor "x\.w" as its layer: it must be a number of at most 15 digits/)
    expect(errorOf(() => find(`${'1'.repeat(16)}.w`)).code).toBe('POLICY_INVALID')
  })
})
