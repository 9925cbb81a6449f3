import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { tries } from '../../../test/many-inputs.ts'
import { compareUtf8, findInvalidUtf8, isWellFormed } from '../src/utf8.ts'
import { utf8 } from './bytes.ts'

function platformAccepts(bytes: Uint8Array): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    return true
  } catch {
    return false
  }
}

describe('findInvalidUtf8()', () => {
  test.each([
    ['an overlong slash', [0xc0, 0xaf]],
    ['an overlong NUL', [0xe0, 0x80, 0x80]],
    ['an overlong four-byte form', [0xf0, 0x8f, 0xbf, 0xbf]],
    ['a surrogate', [0xed, 0xa0, 0x80]],
    ['a code point above U+10FFFF', [0xf4, 0x90, 0x80, 0x80]],
    ['a lead byte that never occurs', [0xf5, 0x80, 0x80, 0x80]],
    ['a lone continuation', [0x80]],
    ['0xff', [0xff]],
    ['a sequence cut off', [0xe2, 0x82]],
    ['a sequence broken off', [0xe2, 0x82, 0x41]],
  ])('refuses %s', (_, sequence) => {
    expect(findInvalidUtf8(Uint8Array.from(sequence))).toBe(0)
    expect(findInvalidUtf8(Uint8Array.from([...utf8('{"naïve": '), ...sequence, 0x7d]))).toBe(11)
  })

  test('accepts a byte order mark, noncharacters and the last code point', () => {
    expect(findInvalidUtf8(utf8('\ufeff\ufffe\uffff\u{10ffff}'))).toBe(-1)
    expect(findInvalidUtf8(new Uint8Array())).toBe(-1)
  })

  test('agrees with the platform on every sequence of up to three bytes', () => {
    const disagreements: string[] = []
    const check = (bytes: number[]): void => {
      const array = Uint8Array.from(bytes)
      if ((findInvalidUtf8(array) === -1) !== platformAccepts(array)) disagreements.push(bytes.join(' '))
    }
    for (let a = 0x70; a < 0x100; a++) {
      check([a])
      for (let b = 0x70; b < 0x100; b++) {
        check([a, b])
        for (const c of [0x41, 0x7f, 0x80, 0xbf, 0xc0]) check([a, b, c])
      }
    }
    expect(disagreements).toEqual([])
  })

  test('agrees with the platform on arbitrary and mutated text at any alignment', () => {
    const text = fc.string({ unit: 'binary', maxLength: 60 }).map((s) => utf8(s))
    const mutated = fc.tuple(text, fc.nat(), fc.nat(255)).map(([bytes, at, byte]) => {
      if (bytes.length > 0) bytes[at % bytes.length] = byte
      return bytes
    })
    fc.assert(
      fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 40 })), fc.nat(7), (bytes, shift) => {
        const shifted = new Uint8Array(bytes.length + shift).subarray(shift)
        shifted.set(bytes)
        const position = findInvalidUtf8(shifted)
        expect(position === -1).toBe(platformAccepts(shifted))
        // What stands before the first fault is valid by itself.
        if (position !== -1) expect(platformAccepts(shifted.slice(0, position))).toBe(true)
      }),
      tries(300),
    )
  })
})

test('compareUtf8() orders as the bytes do', () => {
  expect(compareUtf8('\uffff', '\u{10000}')).toBeLessThan(0) // `<` has it the other way round
  const text = fc.string({ unit: fc.constantFrom('a', 'b', 'é', '\ue000', '\uffff', '😀', '\u{10ffff}'), maxLength: 6 })
  fc.assert(
    fc.property(text, text, (a, b) => {
      expect(Math.sign(compareUtf8(a, b))).toBe(Buffer.compare(utf8(a), utf8(b)))
    }),
    tries(100),
  )
})

test('isWellFormed() refuses a surrogate without its partner', () => {
  for (const text of ['', 'a', '😀', '\u0000', '\uffff']) expect(isWellFormed(text)).toBe(true)
  for (const text of ['\ud800', 'a\udc00', '\ude00\ud83d', '😀\ud83d']) expect(isWellFormed(text)).toBe(false)
})
