import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { tries } from '../../../test/many-inputs.ts'
import { JsonScanner, MAX_NESTING, plainBytes, StringCache, stringToken } from '../src/json-scanner.ts'
import { findInvalidUtf8, isWellFormed } from '../src/utf8.ts'
import { outcome, thrownBy, utf8 } from './bytes.ts'

function scanner(json: string | Uint8Array): JsonScanner {
  return new JsonScanner(typeof json === 'string' ? utf8(json) : json, 'SAFETENSORS_INVALID_HEADER_JSON', 'Header')
}

function accepts(json: string | Uint8Array): boolean {
  const it = scanner(json)
  const run = (): void => {
    it.skipValue(0)
    it.end()
  }
  return outcome(run) === 'ok'
}

function readUint(json: string): number | bigint {
  const it = scanner(json)
  const value = it.readUint('value')
  it.end()
  return value
}

describe('readUint()', () => {
  test.each<[string, number | bigint]>([
    ['0', 0],
    [' 7 ', 7],
    ['999999999999999', 999999999999999],
    ['1000000000000000', 1e15],
    ['9007199254740991', Number.MAX_SAFE_INTEGER],
    ['9007199254740992', 2n ** 53n],
    ['9007199254740993', 2n ** 53n + 1n],
    ['18446744073709551615', 2n ** 64n - 1n],
  ])('reads %s exactly', (json, value) => {
    expect(readUint(json)).toBe(value)
  })

  test.each([
    '1.0',
    '1e0',
    '1E5',
    '-0',
    '-1',
    '+1',
    '01',
    '00',
    '"1"',
    'null',
    'true',
    '[1]',
    '',
    '.5',
    '18446744073709551616',
    '99999999999999999999',
    `1${'0'.repeat(100_000)}`,
    '0x10',
    '1 2',
    'NaN',
  ])('refuses %s', (json) => {
    expect(thrownBy(() => readUint(json)).code).toBe('SAFETENSORS_INVALID_HEADER_JSON')
  })
})

describe('readString()', () => {
  test('decodes ASCII, UTF-8, escapes and nothing', () => {
    for (const text of ['', 'a', 'é', '😀', 'a"b\\c\n\u0000', '\u007f', '\ufeffbom', 'x'.repeat(100_000)]) {
      expect(scanner(JSON.stringify(text)).readString('text')).toBe(text)
    }
  })

  test.each(['"', '"a', '"a\\', '"a\\"', '"a\nb"', '"\u0000"', '"\\\n"', '"\\n\n"', 'a', "'a'", '"\\ud800"'])(
    'refuses %j',
    (json) => {
      expect(outcome(() => scanner(json).readString('text'))).toBe('SAFETENSORS_INVALID_HEADER_JSON')
    },
  )

  test('names the byte at fault', () => {
    expect(thrownBy(() => scanner('  "é\n"').readString('text'))).toMatchObject({
      message: 'Header is not valid: expected no control character in a string, found byte 0x0a at byte 5',
      details: { position: 5 },
    })
  })
})

describe('readRepeated()', () => {
  test('reads what readString() reads, whatever came before', () => {
    const texts = fc.array(fc.constantFrom('a', 'b', '', 'a\\b', 'é', 'aa', 'F32', '\\'), { maxLength: 30 })
    fc.assert(
      fc.property(texts, (list) => {
        const it = scanner(JSON.stringify(list))
        const cache = new StringCache()
        const read: string[] = []
        it.beginArray('list')
        while (it.nextElement(read.length === 0)) read.push(it.readRepeated('text', cache))
        it.end()
        expect(read).toEqual(list)
      }),
      tries(100),
    )
  })

  test('tells strings of the same hash apart', () => {
    const it = scanner('["Aa","BB","Aa"]') // equal under multiplication by 31
    const cache = new StringCache()
    it.beginArray('list')
    const read = [0, 1, 2].map((i) => it.nextElement(i === 0) && it.readRepeated('text', cache))
    expect(read).toEqual(['Aa', 'BB', 'Aa'])
  })
})

test('match() consumes exactly the token, skipping whitespace before it', () => {
  const it = scanner(' "dtype" : "dtyp"')
  expect(it.match(stringToken('dtyp'))).toBe(false)
  expect(it.match(stringToken('dtype'))).toBe(true)
  it.colon()
  expect(it.match(stringToken('dtype'))).toBe(false)
  expect(it.readString('rest')).toBe('dtyp')
  expect(it.matchNull()).toBe(false)
  expect(it.peek()).toBe(-1)
})

describe('skipValue()', () => {
  test.each(['null', 'true', 'false', '-0', '-1.5e+3', '0.0E-5', '1e308', '0e999', '1e-999', '[]', '{}', '[[],{}]'])(
    'accepts %s',
    (json) => {
      expect(accepts(json)).toBe(true)
      expect(accepts(`\t\r\n ${json} `)).toBe(true)
    },
  )

  test.each([
    '',
    ' ',
    'nul',
    'nulll',
    'True',
    'NaN',
    'Infinity',
    '-Infinity',
    '-',
    '1.',
    '.5',
    '+1',
    '01',
    '-01',
    '1e',
    '1e+',
    '1e999',
    '-1e999',
    '1e99999999999',
    '9'.repeat(400),
    '[1,]',
    '[,1]',
    '[1 2]',
    '[1',
    '[',
    ']',
    '{',
    '{"a"}',
    '{"a":}',
    '{"a":1,}',
    '{,"a":1}',
    '{a:1}',
    "{'a':1}",
    '{"a":1 "b":2}',
    '{"a":1]',
    '[1}',
    '[1]]',
    '1 2',
    '// comment\n1',
    '/* */1',
    '\ufeff1',
    '\u00a01',
    '\v1',
    '1\u0000',
    '{"\\ud800":1}',
  ])('refuses %j', (json) => {
    expect(accepts(json)).toBe(false)
  })

  test('counts the nesting from what is open around it', () => {
    const nested = (depth: number): string => `${'['.repeat(depth)}${']'.repeat(depth)}`
    const objects = (depth: number): string => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`
    for (const json of [nested, objects]) {
      expect(accepts(json(MAX_NESTING))).toBe(true)
      expect(accepts(json(MAX_NESTING + 1))).toBe(false)
      expect(outcome(() => scanner(json(MAX_NESTING - 2)).skipValue(2))).toBe('ok')
      expect(outcome(() => scanner(json(MAX_NESTING - 1)).skipValue(2))).toBe('SAFETENSORS_INVALID_HEADER_JSON')
    }
    expect(accepts('['.repeat(10_000_000))).toBe(false) // no recursion to overflow the stack with
    expect(accepts(`[${'[],'.repeat(100_000)}[]]`)).toBe(true)
  })

  test('accepts what JSON.stringify writes', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), fc.constantFrom(0, 1, 2), (value, indent) => {
        expect(accepts(JSON.stringify(value, null, indent))).toBe(true)
      }),
      tries(100),
    )
  })

  test('agrees with JSON.parse on mutated JSON', () => {
    const alphabet = [...'{}[]:,"\\/ \n\t\r0123456789.eE+-truefalsn\u0000\ud83d\ude00é'].map((c) => c.charCodeAt(0))
    const mutated = fc
      .tuple(
        fc.jsonValue({ maxDepth: 3 }),
        fc.array(fc.tuple(fc.nat(), fc.constantFrom(...alphabet)), { maxLength: 3 }),
      )
      .map(([value, changes]) => {
        const bytes = utf8(JSON.stringify(value))
        for (const [at, byte] of changes) bytes[at % bytes.length] = byte
        return bytes
      })
    fc.assert(
      fc.property(mutated, (bytes) => {
        fc.pre(findInvalidUtf8(bytes) === -1)
        let parsed: unknown
        try {
          parsed = JSON.parse(new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes))
        } catch {
          expect(accepts(bytes)).toBe(false)
          return
        }
        // JSON.parse lets pass what cannot be represented: lone surrogates and numbers out of range.
        const lossy = !isWellFormed(strings(parsed)) || JSON.stringify(parsed) !== JSON.stringify(parsed, finite)
        if (!lossy) expect(accepts(bytes)).toBe(true)
      }),
      tries(300),
    )
  })
})

function finite(_: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isFinite(value) ? 'infinite' : value
}

/** All keys and strings of a value, joined by something that forms no pair. */
function strings(value: unknown): string {
  if (typeof value === 'string') return value
  if (typeof value !== 'object' || value === null) return ''
  return Object.entries(value)
    .map(([key, member]) => `${key} ${strings(member)}`)
    .join(' ')
}

test('plainBytes() views ordinary memory and copies shared memory', () => {
  const buffer = Buffer.from('xabc')
  const view = plainBytes(buffer.subarray(1))
  expect(Object.getPrototypeOf(view)).toBe(Uint8Array.prototype)
  expect(view).toEqual(utf8('abc'))
  expect(view.buffer).toBe(buffer.buffer)
  const shared = new Uint8Array(new SharedArrayBuffer(4), 1)
  shared.set(utf8('abc'))
  const copy = plainBytes(shared)
  shared.fill(0)
  expect(copy).toEqual(utf8('abc'))
})
