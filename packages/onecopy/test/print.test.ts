import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { foldLine } from '../src/terminal/print.ts'
import { displayWidth } from '../src/terminal/text.ts'

describe('foldLine', () => {
  test('leaves a line that fits', () => {
    expect(foldLine('headers  as it is', 17)).toEqual(['headers  as it is'])
    expect(foldLine('', 10)).toEqual([''])
  })

  test('breaks between words, and goes on below the second column', () => {
    expect(foldLine('✗ files    Shard "model.safetensors" is missing', 30)).toEqual([
      '✗ files    Shard',
      '           "model.safetensors"',
      '           is missing',
    ])
  })

  test('goes on with a small indent where there is no second column, or one far to the right', () => {
    expect(foldLine('onecopy: one two three', 16)).toEqual(['onecopy: one two', '  three'])
    expect(foldLine('a.very.long.name  F32  [1, 2]', 24)).toEqual(['a.very.long.name  F32', '  [1, 2]'])
    expect(foldLine('   indented one two', 16)).toEqual(['   indented one', '     two'])
  })

  test('leaves a word whole that is wider than the terminal, so that it can be copied', () => {
    const path = `/models/${'x'.repeat(40)}`
    expect(foldLine(`found at ${path} today`, 20)).toEqual(['found at', `  ${path}`, '  today'])
  })

  test('counts columns, not characters: wide ones as two, those that only set a style as none', () => {
    expect(foldLine('重み 重み', 8)).toEqual(['重み', '  重み'])
    expect(foldLine('\u001b[31mred\u001b[39m and', 7)).toEqual(['\u001b[31mred\u001b[39m and'])
  })

  test('loses no word, and makes no line wider than it must be', () => {
    const line = fc.array(fc.stringMatching(/^[!-~]{1,12}$/), { maxLength: 12 }).map((words) => words.join(' '))
    fc.assert(
      fc.property(line, fc.integer({ min: 24, max: 60 }), (text, columns) => {
        const folded = foldLine(text, columns)
        expect(folded.map((part) => part.trim()).join(' ')).toBe(text)
        for (const part of folded) expect(displayWidth(part)).toBeLessThanOrEqual(columns)
      }),
      { seed: 5 },
    )
  })
})
