import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeBody, encodeBody } from '../src/body.ts'
import { ProtocolError } from '../src/index.ts'

const invalid = expect.objectContaining({ name: 'ProtocolError', code: 'FRAME_INVALID' })

/** A list in a list in a list, so many of them. */
function nested(depth: number): Buffer {
  return Buffer.concat([Buffer.alloc(depth - 1, 0x91), Buffer.of(0x90)])
}

describe('encodeBody', () => {
  it('writes plain msgpack, byte for byte', () => {
    expect(encodeBody({ type: 'release', id: 7, lease: 300 }).toString('hex')).toBe(
      '83a474797065a772656c65617365a2696407a56c65617365cd012c',
    )
  })

  it('writes undefined as nil', () => {
    expect(decodeBody(encodeBody({ a: undefined }))).toEqual({ a: null })
  })

  it.each([
    ['a date', new Date(0)],
    ['bytes', Buffer.of(1)],
    ['half a character', '\ud800'],
    ['half a character in a key', { '\udc00': 1 }],
  ])('refuses %s', (_, value) => {
    expect(() => encodeBody({ value })).toThrow(invalid)
  })

  it('survives the way through decodeBody, whatever plain value it is', () => {
    const { plain } = fc.letrec((tie) => ({
      plain: fc.oneof(
        { maxDepth: 4 },
        fc.constant(null),
        fc.boolean(),
        fc.maxSafeInteger(),
        fc.double({ noNaN: true }).filter((value) => !Object.is(value, -0)),
        fc.string({ unit: 'grapheme' }),
        fc.array(tie('plain')),
        fc.dictionary(
          fc.string({ unit: 'grapheme' }).filter((key) => key !== '__proto__'),
          tie('plain'),
          { noNullPrototype: true },
        ),
      ),
    }))
    fc.assert(
      fc.property(plain, (value) => {
        expect(decodeBody(encodeBody(value))).toEqual(value)
      }),
    )
  })
})

describe('decodeBody', () => {
  it.each([
    ['nothing', ''],
    ['a value after the value', 'c0c0'],
    ['the byte that means nothing', 'c1'],
    ['bytes', 'c40101'],
    ['an extension', 'd40100'],
    ['a record definition', 'd4724091a161'],
    ['a regular expression', 'c70578 92a161a0'.replaceAll(' ', '')],
    ['an error class', 'c70465 92a161c0'.replaceAll(' ', '')],
    ['a timestamp', 'd6ff00000000'],
    ['a text that ends early', 'a561'],
    ['a text that claims 4 GiB', 'dbffffffff61'],
    ['a list that claims 4 G values', 'ddffffffff'],
    ['a map that claims 4 G entries', 'dfffffffff'],
    ['a head that ends early', 'dd0000'],
    ['a number that ends early', 'cb00000000'],
    ['a map without its last value', '81a161'],
    ['a key that is a number', '810101'],
    ['a key that is a list', '819001'],
    ['text that is not UTF-8', 'a2c328'],
    ['a surrogate in text', 'a3eda080'],
  ])('refuses %s', (_, hex) => {
    expect(() => decodeBody(Buffer.from(hex, 'hex'))).toThrow(invalid)
  })

  it('takes every way to write a number', () => {
    const numbers = {
      cf0000000100000000: 2 ** 32,
      cb41f0000000000000: 2 ** 32,
      ca3f800000: 1,
      d0ff: -1,
      d3ffffffffffffffff: -1,
    }
    for (const [hex, value] of Object.entries(numbers)) expect(decodeBody(Buffer.from(hex, 'hex'))).toBe(value)
  })

  it('never makes an exact number of one that is not', () => {
    expect(Number.isSafeInteger(decodeBody(Buffer.from('cf0020000000000001', 'hex')))).toBe(false)
  })

  it('gives no object a prototype', () => {
    const hostile = Buffer.concat([
      Buffer.from('81a95f5f70726f746f5f5f81a8', 'hex'),
      Buffer.from('polluted'),
      Buffer.of(0xc3),
    ])
    const decoded = decodeBody(hostile) as Record<string, unknown>
    expect(Object.getPrototypeOf(decoded)).toBe(Object.prototype)
    expect(decoded['polluted']).toBeUndefined()
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
  })

  it('bounds the depth', () => {
    expect(decodeBody(nested(32))).toHaveLength(1)
    expect(() => decodeBody(nested(33))).toThrow(/more than 32 deep/)
    expect(() => decodeBody(nested(8_000_000))).toThrow(/more than 32 deep/)
  })

  it('bounds the number of values, before it makes one of them', () => {
    const bodies = [0x90, 0x80, 0xc0, 0xa0].map((byte) => {
      const body = Buffer.alloc(8_000_000, byte)
      body.writeUInt8(0xdd, 0)
      body.writeUInt32BE(8_000_000 - 5, 1)
      return body
    })
    for (const body of bodies) {
      const before = process.memoryUsage().heapUsed
      expect(() => decodeBody(body)).toThrow(/more than 262144 values/)
      expect(process.memoryUsage().heapUsed - before).toBeLessThan(32 * 1024 * 1024)
    }
  })

  it('gives a value or FRAME_INVALID for whatever bytes', () => {
    const decode = (bytes: Uint8Array): void => {
      try {
        decodeBody(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(ProtocolError)
        expect(error).toMatchObject({ code: 'FRAME_INVALID' })
      }
    }
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), decode), { numRuns: 5000 })
    // Mostly structure, so that the fuzz comes further than the first byte.
    const heads = fc.constantFrom(
      0x81,
      0x82,
      0x91,
      0x92,
      0xa1,
      0xa2,
      0xc0,
      0xcd,
      0xd4,
      0x72,
      0x40,
      0xd9,
      0xdc,
      0xde,
      0x00,
      0x61,
    )
    fc.assert(
      fc.property(fc.array(heads, { maxLength: 60 }), (bytes) => decode(Uint8Array.from(bytes))),
      { numRuns: 5000 },
    )
  })
})
