import { describe, expect, test } from 'vitest'
import { messageLines } from '../src/terminal/error-message.ts'
import { printable } from '../src/terminal/printable.ts'
import { factLines, tableLines } from '../src/terminal/table.ts'
import { displayName, displayWidth, printableJson } from '../src/terminal/text.ts'

describe('printable', () => {
  test.each([
    ['\u001b[31m', '\\u001b[31m'],
    ['\u009b2J', '\\u009b2J'],
    ['a\u007fb', 'a\\u007fb'],
    ['\u202egpj.exe', '\\u202egpj.exe'],
    ['\u{e0041}', '\\udb40\\udc41'],
    ['\ud800', '\\ud800'],
    ['重み 😀 é', '重み 😀 é'],
  ])('writes %j as %s', (text, shown) => {
    expect(printable(text)).toBe(shown)
  })
})

describe('displayName', () => {
  test.each([
    ['model.layers.0.weight', 'model.layers.0.weight'],
    ['with space', 'with space'],
    ['重み', '重み'],
    ['', '""'],
    [' padded', '" padded"'],
    ['a"b', '"a\\"b"'],
    ['a\\u001b', '"a\\\\u001b"'],
    ['a\u0000', '"a\\u0000"'],
    ['__proto__', '__proto__'],
  ])('shows %j as %s', (name, shown) => {
    expect(displayName(name)).toBe(shown)
  })

  test('cuts a name of a million characters', () => {
    expect(displayName('x'.repeat(1_000_000)).length).toBeLessThan(1100)
  })
})

describe('tableLines', () => {
  test('pads by columns of the terminal, not by characters', () => {
    expect(displayWidth('重み')).toBe(4)
    expect(
      tableLines(
        [{ title: 'n' }, { title: 'x', align: 'right' }],
        [
          ['重み', '1'],
          ['abc', '10'],
        ],
      ),
    ).toEqual(['n      x', '重み   1', 'abc   10'])
  })

  test('lets one very long cell push its own row only', () => {
    const [, long, short] = tableLines(
      [{ title: 'n' }, { title: 'x' }],
      [
        ['y'.repeat(500), '1'],
        ['abc', '2'],
      ],
    )
    expect(long).toBe(`${'y'.repeat(500)}  1`)
    expect(short).toBe('abc  2')
  })
})

test('factLines() aligns the texts, also of a hundred thousand facts', () => {
  expect(
    factLines([
      ['a', '1'],
      ['long', '2'],
    ]),
  ).toEqual(['a     1', 'long  2'])
  expect(factLines(Array.from({ length: 100_000 }, () => ['k', 'v'] as const))).toHaveLength(100_000)
})

test('printableJson() gives the same value back and has no control character', () => {
  const value = { list: [{ a: '\u009b\u001b' }, {}], empty: [], none: null, text: '\u007f\n', '\u202e': 1 }
  const json = printableJson(value)
  expect(JSON.parse(json)).toEqual(value)
  expect(printable(json.replaceAll('\n', ''))).toBe(json.replaceAll('\n', ''))
})

describe('messageLines', () => {
  test('is one line for an error with a code, and escapes it', () => {
    const error = Object.assign(new RangeError('bad \u001b[2J\nname'), { code: 'SOME_CODE' })
    expect(messageLines(error, false)).toEqual(['onecopy: bad \\u001b[2J\\u000aname (SOME_CODE)'])
    expect(messageLines(error, true).join('\n')).toContain('text.test.ts')
  })

  test('shows the stack of an error without one', () => {
    const lines = messageLines(new TypeError('oops'), false)
    expect(lines[0]).toBe('onecopy: unexpected failure, please report it:')
    expect(lines.join('\n')).toContain('text.test.ts')
  })
})
