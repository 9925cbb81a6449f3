import fc from 'fast-check'
import { expect, test } from 'vitest'
import { tries } from '../../../test/many-inputs.ts'
import { unescapeJson } from '../src/json-escapes.ts'
import { utf8 } from './bytes.ts'

function resolve(text: string): string {
  const bytes = unescapeJson(utf8(text), (position, expected) => new SyntaxError(`${expected} at ${position}`))
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes)
}

test('unescapeJson() resolves every escape', () => {
  expect(resolve('\\"\\\\\\/\\b\\f\\n\\r\\t')).toBe('"\\/\b\f\n\r\t')
  expect(resolve('\\u0000\\u00E9\\u20ac\\uFFFF')).toBe('\u0000é€\uffff')
  expect(resolve('\\ud83d\\ude00\\udbff\\udfff\\ud800\\udc00')).toBe('😀\u{10ffff}\u{10000}')
  expect(resolve('é😀\\u0041')).toBe('é😀A')
})

test('unescapeJson() agrees with JSON.parse', () => {
  const escaped = fc
    .string({ unit: 'binary' })
    .map((text) =>
      [...text]
        .map((c) =>
          c.length === 1 ? `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}` : JSON.stringify(c).slice(1, -1),
        )
        .join(''),
    )
  fc.assert(
    fc.property(escaped, (text) => {
      expect(resolve(text)).toBe(JSON.parse(`"${text}"`))
    }),
    tries(100),
  )
})

test.each([
  ['\\x41', 1],
  ['ab\\', 3],
  ['\\u12', 4],
  ['\\u12G4', 4],
  ['\\u 123', 2],
  ['\\ud800', 0],
  ['\\ud800x', 0],
  ['\\ud800\\n', 0],
  ['\\ud83d\\u0041', 0],
  ['\\ude00\\ud83d', 0],
  ['\\ud800\\ud800', 0],
  ['\\ud83d\\ude', 10],
])('unescapeJson() refuses %s at byte %i', (text, position) => {
  expect(() => resolve(text)).toThrow(new RegExp(` at ${position}$`))
})
