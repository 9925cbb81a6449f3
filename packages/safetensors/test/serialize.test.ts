import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { tries } from '../../../test/many-inputs.ts'
import { DTYPE_NAMES, dtypeBits } from '../src/dtype.ts'
import { parseSafetensors } from '../src/header.ts'
import { serialize, serializeHeader, type TensorSpec } from '../src/serialize.ts'
import { tensorsArbitrary, textArbitrary } from './arbitraries.ts'
import { outcome, thrownBy, utf8 } from './bytes.ts'

const spec = (name: string, dtype: TensorSpec['dtype'] = 'U8', shape: number[] = [1]): TensorSpec => ({
  name,
  dtype,
  shape,
})

function json(tensors: TensorSpec[], metadata?: Record<string, string> | null): string {
  return new TextDecoder().decode(serializeHeader(tensors, metadata).bytes.subarray(8))
}

describe('serializeHeader()', () => {
  test('writes compact JSON, padded with spaces to a multiple of 8', () => {
    expect(json([spec('a', 'F32', [2, 3])])).toBe('{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}       ')
    expect(json([])).toBe('{}      ')
    expect([...serializeHeader([]).bytes.subarray(0, 8)]).toEqual([8, 0, 0, 0, 0, 0, 0, 0])
    expect(json([spec('scalar', 'F64', [])])).toMatch(/"shape":\[\],"data_offsets":\[0,8\]/)
  })

  test('puts metadata first, its keys sorted', () => {
    expect(json([], { b: '1', a: '2', '\u{10000}': '3', '\uffff': '4', '10': '5', '9': '6' }).trim()).toBe(
      '{"__metadata__":{"10":"5","9":"6","a":"2","b":"1","\uffff":"4","\u{10000}":"3"}}',
    )
    expect(json([], {}).trim()).toBe('{"__metadata__":{}}')
    expect(serializeHeader([], new Map([['k', 'v']])).bytes).toEqual(serializeHeader([], { k: 'v' }).bytes)
  })

  test('orders by dtype, the last first, then by the bytes of the name', () => {
    const { layout, dataByteLength } = serializeHeader([
      spec('b'),
      spec('\u{10000}'),
      spec('\uffff'),
      spec('a'),
      spec('z', 'U64'),
      spec('y', 'I64'),
      spec('x', 'F4', [2]),
    ])
    expect([...layout]).toEqual([
      ['z', [0, 8]],
      ['y', [8, 16]],
      ['a', [16, 17]],
      ['b', [17, 18]],
      ['\uffff', [18, 19]],
      ['\u{10000}', [19, 20]],
      ['x', [20, 21]],
    ])
    expect(dataByteLength).toBe(21)
    const all = DTYPE_NAMES.map((dtype) => spec(dtype, dtype, [8]))
    expect([...serializeHeader(all).layout.keys()]).toEqual([...DTYPE_NAMES].reverse())
  })

  test('writes the same bytes whatever the order of its input', () => {
    fc.assert(
      fc.property(tensorsArbitrary, fc.dictionary(textArbitrary, textArbitrary), (tensors, metadata) => {
        const entries = Object.entries(metadata)
        expect(serialize([...tensors].reverse(), new Map(entries.reverse()))).toEqual(serialize(tensors, metadata))
      }),
    )
  })

  test.each([
    ['SAFETENSORS_RESERVED_NAME', [spec('__metadata__')]],
    ['SAFETENSORS_DUPLICATE_KEY', [spec('a'), spec('b'), spec('a')]],
    ['SAFETENSORS_DUPLICATE_KEY', [spec('a', 'F32'), spec('a', 'U8')]],
    ['SAFETENSORS_INVALID_HEADER_UTF8', [spec('\ud800')]],
    ['SAFETENSORS_TENSOR_INVALID_INFO', [spec('a', 'u8' as 'U8')]],
    ['SAFETENSORS_TENSOR_INVALID_INFO', [spec('a', 'toString' as 'U8')]],
    ['SAFETENSORS_TENSOR_INVALID_INFO', [spec('a', 'U8', [-1])]],
    ['SAFETENSORS_TENSOR_INVALID_INFO', [spec('a', 'U8', [1.5])]],
    ['SAFETENSORS_TENSOR_INVALID_INFO', [spec('a', 'U8', [0, 2 ** 64])]],
    ['SAFETENSORS_MISALIGNED_SLICE', [spec('a', 'F4', [3])]],
    ['SAFETENSORS_VALIDATION_OVERFLOW', [spec('a', 'U8', [2 ** 52, 2 ** 52, 0])]],
    ['SAFETENSORS_VALIDATION_OVERFLOW', [spec('a', 'U8', [2 ** 52]), spec('b', 'U8', [2 ** 52])]],
  ])('refuses with %s: %j', (code, tensors) => {
    expect(outcome(() => serializeHeader(tensors))).toBe(code)
  })

  test('refuses metadata that UTF-8 cannot represent or that is no text', () => {
    expect(outcome(() => serializeHeader([], { '\udc00': 'v' }))).toBe('SAFETENSORS_INVALID_HEADER_UTF8')
    expect(outcome(() => serializeHeader([], { k: 'a\ud83d' }))).toBe('SAFETENSORS_INVALID_HEADER_UTF8')
    expect(() => serializeHeader([], { k: 1 } as unknown as Record<string, string>)).toThrow(TypeError)
  })

  test('refuses a header above 100 MB, also when only its UTF-8 is', () => {
    const frame = '{"__metadata__":{"k":""}}'.length
    const value = (length: number): Record<string, string> => ({ k: 'x'.repeat(length) })
    expect(serializeHeader([], value(100_000_000 - frame)).bytes.byteLength).toBe(100_000_008)
    expect(outcome(() => serializeHeader([], value(100_000_001 - frame)))).toBe('SAFETENSORS_HEADER_TOO_LARGE')
    expect(outcome(() => serializeHeader([], { k: 'é'.repeat(50_000_000) }))).toBe('SAFETENSORS_HEADER_TOO_LARGE')
  })
})

describe('serialize()', () => {
  test('is undone by parseSafetensors()', () => {
    const metadata = fc.option(
      fc.array(fc.tuple(textArbitrary, textArbitrary), { maxLength: 4 }).map((l) => new Map(l)),
    )
    fc.assert(
      fc.property(tensorsArbitrary, metadata, (tensors, strings) => {
        const bytes = serialize(tensors, strings)
        const header = parseSafetensors(bytes)
        const begin = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true))
        expect(begin % 8).toBe(0)
        expect(header.metadata).toEqual(strings)
        expect(header.tensors.size).toBe(tensors.length)
        for (const { name, dtype, shape, data } of tensors) {
          const info = header.tensors.get(name)!
          expect(info).toMatchObject({ dtype, shape })
          expect(bytes.subarray(begin + info.dataOffsets[0], begin + info.dataOffsets[1])).toEqual(data)
          // Whole-byte types come to lie at multiples of their size, since larger ones come first.
          const size = dtypeBits(dtype) / 8
          if (size >= 1) expect((begin + info.dataOffsets[0]) % size).toBe(0)
        }
      }),
      tries(100),
    )
  })

  test('refuses data of another length', () => {
    const tensor = { ...spec('a', 'U8', [2]), data: utf8('abc') }
    expect(thrownBy(() => serialize([tensor]))).toMatchObject({
      code: 'SAFETENSORS_TENSOR_INVALID_INFO',
      tensor: 'a',
      message: 'Tensor "a" has 3 bytes of data, but its dtype and shape need 2',
    })
  })
})
