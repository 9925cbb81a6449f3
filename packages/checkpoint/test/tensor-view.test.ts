import { closeSync, openSync, writeSync } from 'node:fs'
import { DTYPE_NAMES, type Dtype, dtypeBits, type SliceRange } from '@onecopy/safetensors'
import { CONVERTIBLE_FORMATS } from '@onecopy/sharedarraybuffer-utils'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Backing, type Checkpoint, openCheckpoint, type TensorView } from '../src/index.ts'
import { bytesOf, fileOf, headerJson, type RawTensor, refusal, temporaryFolder, tensor, write } from './support.ts'

const BACKINGS: readonly Backing[] = ['file', 'sealed', 'heap']

interface Opened {
  readonly checkpoint: Checkpoint
  readonly path: string
}

async function open(tensors: readonly RawTensor[], backing: Backing = 'file', padding = 0): Promise<Opened> {
  const path = write(temporaryFolder(), 'x.safetensors', fileOf(tensors, { padding }))
  const checkpoint = await openCheckpoint(path, { backing })
  onTestFinished(() => checkpoint.close())
  return { checkpoint, path }
}

async function openOne(raw: RawTensor, backing: Backing = 'file'): Promise<TensorView> {
  return (await open([raw], backing)).checkpoint.tensor(raw.name)
}

/** A shape that fills whole bytes in every dtype. */
function shapeFor(dtype: Dtype): readonly number[] {
  return dtypeBits(dtype) < 8 ? [2, 4] : [2, 3]
}

/** A tensor of I32 whose elements count up. */
function counting(shape: readonly number[]): RawTensor {
  const length = shape.reduce((product, size) => product * size, 1)
  const elements = Int32Array.from({ length }, (_, at) => at)
  return { name: 'a', dtype: 'I32', shape, bytes: new Uint8Array(elements.buffer) }
}

describe.each(BACKINGS)('TensorView.data of backing %s', (backing) => {
  test.each(DTYPE_NAMES)('of %s has the right elements at an odd byte of the file', async (dtype) => {
    const raw = tensor('a', dtype, shapeFor(dtype))
    const one = tensor('one', 'U8', [1])
    // The data begins at an even byte, so that the tensor behind the first byte is at an odd one.
    const padding = headerJson([one, raw]).length % 2
    const { checkpoint } = await open([one, raw], backing, padding)
    expect(checkpoint.locate('a').begin % 2).toBe(1)
    const { data, buffer, byteLength } = checkpoint.tensor('a')
    expect(data.buffer).toBe(buffer)
    expect(data.byteOffset).toBe(0)
    expect([data.byteLength, buffer.byteLength, byteLength]).toEqual(Array(3).fill(raw.bytes.byteLength))
    const aligned = raw.bytes.slice().buffer
    const expected = new (data.constructor as typeof Uint8Array)(aligned)
    expect([...data]).toEqual([...expected])
  })

  test.each(DTYPE_NAMES)('of %s at an odd byte can be read in every way', async (dtype) => {
    const raw = tensor('a', dtype, [64, 16])
    const one = tensor('one', 'U8', [1])
    const { checkpoint } = await open([one, raw], backing, headerJson([one, raw]).length % 2)
    const view = checkpoint.tensor('a')
    expect(view.copied).toBe(backing !== 'heap' && dtypeBits(dtype) === 16)
    // V8 has several ways to read an element, and the slower ones do not take every address.
    const data = view.data as Uint8Array
    const expected = new (data.constructor as typeof Uint8Array)(raw.bytes.slice().buffer)
    const looped: unknown[] = []
    for (let at = 0; at < data.length; at++) looped.push(data[at])
    expect(looped).toEqual([...expected])
    expect(Reflect.get(data, 1)).toBe(expected[1])
    expect(data.at(-1)).toBe(expected.at(-1))
    expect(data.indexOf(expected[3]!)).toBe(expected.indexOf(expected[3]!))
    expect(data.includes(expected[5]!)).toBe(expected.includes(expected[5]!))
    expect(Object.entries(data)).toEqual(Object.entries(expected))
    expect(data.slice(1, 3)).toEqual(expected.slice(1, 3))
    expect(data.join()).toBe(expected.join())
    expect(Array.prototype.slice.call(data, 0, 3)).toEqual([...expected.slice(0, 3)])
    if (!dtype.endsWith('64') || dtype === 'F64' || dtype === 'C64') {
      expect(new Float64Array(data)).toEqual(new Float64Array(expected))
    }
    const columns = view.slice(null, [4, 12])
    const perRow = expected.length / 64
    const of = (from: number, to: number) => [...expected].filter((_, at) => at % perRow >= from && at % perRow < to)
    expect([...columns.data]).toEqual(of(perRow / 4, (perRow * 3) / 4))
    expect(view.slice([1, 2]).data.at(0)).toBe(expected[perRow])
  })

  test('of every dtype takes rank 0 and no elements at all', async () => {
    const whole = DTYPE_NAMES.filter((dtype) => dtypeBits(dtype) >= 8).map((dtype) => tensor(`${dtype} one`, dtype, []))
    const empty = DTYPE_NAMES.map((dtype) => tensor(`${dtype} none`, dtype, [0, 5]))
    const { checkpoint } = await open([...empty, ...whole], backing)
    for (const raw of whole) {
      const view = checkpoint.tensor(raw.name)
      expect(view.elementCount).toBe(1)
      expect(view.shape).toEqual([])
      expect(bytesOf(view.buffer)).toEqual(raw.bytes)
    }
    for (const { name } of empty) {
      const view = checkpoint.tensor(name)
      expect([view.elementCount, view.byteLength, view.data.length]).toEqual([0, 0, 0])
      if (view.dtype !== 'C64') expect(view.toFloat32()).toEqual(new Float32Array())
    }
  })
})

describe('TensorView.slice()', () => {
  test('of the leading dimension is the same memory, and of any other a copy', async () => {
    const { checkpoint, path } = await open([counting([4, 3])])
    const view = checkpoint.tensor('a')
    const rows = view.slice([1, 3])
    const row = view.slice(2)
    const columns = view.slice(null, [1, 2])
    expect([rows.copied, row.copied, columns.copied]).toEqual([false, false, true])
    expect([...row.data, ...columns.data]).toEqual([6, 7, 8, 1, 4, 7, 10])
    // What is written to the file shows in the same memory and not in a copy.
    const descriptor = openSync(path, 'r+')
    writeSync(descriptor, Uint8Array.of(99), 0, 1, checkpoint.locate('a').begin + 7 * 4)
    closeSync(descriptor)
    expect([...rows.data]).toEqual([3, 4, 5, 6, 99, 8])
    expect([...row.data]).toEqual([6, 99, 8])
    expect([...columns.data]).toEqual([1, 4, 7, 10])
  })

  test.each<[ranges: SliceRange[], shape: number[], elements: number[], copied: boolean]>([
    [[], [2, 3, 2], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], false],
    [[null, null, null], [2, 3, 2], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], false],
    [[1], [3, 2], [6, 7, 8, 9, 10, 11], false],
    [[-1], [3, 2], [6, 7, 8, 9, 10, 11], false],
    [[-2, -1], [2], [4, 5], false],
    [[1, 2, 0], [], [10], false],
    [[[1, null]], [1, 3, 2], [6, 7, 8, 9, 10, 11], false],
    [[0, [1, 3]], [2, 2], [2, 3, 4, 5], false],
    [[null, 1], [2, 2], [2, 3, 8, 9], true],
    [[null, null, 1], [2, 3], [1, 3, 5, 7, 9, 11], true],
    [[null, [0, 3, 2]], [2, 2, 2], [0, 1, 4, 5, 6, 7, 10, 11], true],
    [[[0, 0]], [0, 3, 2], [], false],
    [[null, [2, 2]], [2, 0, 2], [], false],
    [[[2, 2]], [0, 3, 2], [], false],
  ])('takes %j', async (ranges, shape, elements, copied) => {
    for (const backing of BACKINGS) {
      const view = await openOne(counting([2, 3, 2]), backing)
      const slice = view.slice(...ranges)
      expect(slice).toMatchObject({ name: 'a', dtype: 'I32', shape, byteLength: elements.length * 4 })
      expect(slice.buffer.byteLength).toBe(slice.byteLength)
      expect([...slice.data]).toEqual(elements)
      expect([...slice.toFloat32()]).toEqual(elements)
      if (backing !== 'heap') expect(slice.copied).toBe(copied)
    }
  })

  test('says on heap backing that a part is a copy, and that the whole is not', async () => {
    const view = await openOne(counting([4, 3]), 'heap')
    expect(view.slice(null).copied).toBe(false)
    expect(view.slice(null).buffer).toBe(view.buffer)
    expect(view.slice([1, 3]).copied).toBe(true)
    expect(view.slice([1, 3]).slice(0).copied).toBe(true)
  })

  test('of a slice, and of a copied slice, gives what the slice of the whole gives', async () => {
    for (const backing of BACKINGS) {
      const view = await openOne(counting([4, 3, 2]), backing)
      expect([...view.slice([1, 4]).slice([1, 3]).slice(-1).data]).toEqual([...view.slice(3).data])
      const copy = view.slice(null, [1, 3])
      expect([...copy.slice([2, 4]).data]).toEqual([...view.slice([2, 4], [1, 3]).data])
      expect([...copy.slice(null, null, 1).data]).toEqual([...view.slice(null, [1, 3], 1).data])
      expect([...copy.slice(3, 1, 0).data]).toEqual([22])
      expect(copy.slice([2, 4]).copied).toBe(true)
    }
  })

  test.each<[ranges: SliceRange[]]>([
    [[4]],
    [[-5]],
    [[1.5]],
    [[[0, 5]]],
    [[[3, 2]]],
    [[[-1, 2]]],
    [[[0, 4, 0]]],
    [[[0, 4, -1]]],
    [[null, 3]],
    [[null, null, 0]],
    [[Number.NaN]],
  ])('refuses %j and names the tensor', async (ranges) => {
    const view = await openOne(counting([4, 3]))
    const error = await refusal(() => view.slice(...ranges))
    expect(error).toMatchObject({ code: 'SAFETENSORS_INVALID_SLICE', tensor: 'a' })
    expect(error.message).toContain('"a"')
  })

  test('refuses a part of rank 0, and takes the whole of it', async () => {
    const view = await openOne(counting([]))
    expect([...view.slice().data]).toEqual([0])
    expect((await refusal(() => view.slice(0))).code).toBe('SAFETENSORS_INVALID_SLICE')
  })

  test('takes elements of less than a byte where they fill whole bytes, and refuses others', async () => {
    const f4 = { name: 'f4', dtype: 'F4', shape: [4, 4], bytes: Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7) } as const
    const f6 = {
      name: 'f6',
      dtype: 'F6_E2M3',
      shape: [2, 8],
      bytes: Uint8Array.from({ length: 12 }, (_, i) => i),
    } as const
    const odd = { name: 'odd', dtype: 'F4', shape: [2, 3], bytes: Uint8Array.of(1, 2, 3) } as const
    const { checkpoint } = await open([f4, f6, odd])
    const bytes = (view: TensorView): number[] => [...bytesOf(view.buffer)]
    expect(bytes(checkpoint.tensor('f4').slice([1, 3]))).toEqual([2, 3, 4, 5])
    expect(bytes(checkpoint.tensor('f4').slice(null, [2, 4]))).toEqual([1, 3, 5, 7])
    expect(bytes(checkpoint.tensor('f6').slice(1, [4, 8]))).toEqual([9, 10, 11])
    for (const cut of [
      () => checkpoint.tensor('f4').slice(null, [1, 3]),
      () => checkpoint.tensor('f4').slice(0, 0),
      () => checkpoint.tensor('f6').slice(0, [2, 4]),
      () => checkpoint.tensor('odd').slice(1),
    ]) {
      expect((await refusal(cut)).code).toBe('SAFETENSORS_MISALIGNED_SLICE')
    }
  })
})

describe('TensorView.toFloat32()', () => {
  const bits16 = (...values: readonly number[]): Uint8Array => new Uint8Array(Uint16Array.from(values).buffer)
  const bytesOfArray = ({ buffer }: { readonly buffer: ArrayBufferLike }): Uint8Array => new Uint8Array(buffer)

  /** Elements by hand, and what they are. The packed ones: first in the low nibble, or the lowest six bits. */
  const CASES: Readonly<Record<Exclude<Dtype, 'C64'>, readonly [bytes: Uint8Array, values: readonly number[]]>> = {
    BOOL: [Uint8Array.of(0, 1), [0, 1]],
    F4: [Uint8Array.of(0x21, 0xf7), [0.5, 1, 6, -6]],
    F6_E2M3: [sixBits(8, 1, 0b101000, 0b011111), [1, 0.125, -1, 7.5]],
    F6_E3M2: [sixBits(12, 1, 0b101100, 0b011111), [1, 0.0625, -1, 28]],
    U8: [Uint8Array.of(0, 255), [0, 255]],
    I8: [Uint8Array.of(255, 127), [-1, 127]],
    F8_E5M2: [Uint8Array.of(0x3c, 0xfc, 0x01), [1, -Infinity, 2 ** -16]],
    F8_E4M3: [Uint8Array.of(0x38, 0x7e, 0xff), [1, 448, Number.NaN]],
    F8_E8M0: [Uint8Array.of(127, 130, 255), [1, 8, Number.NaN]],
    F8_E4M3FNUZ: [Uint8Array.of(0x40, 0xff, 0x80), [1, -240, Number.NaN]],
    F8_E5M2FNUZ: [Uint8Array.of(0x40, 0xff, 0x80), [1, -57344, Number.NaN]],
    I16: [bits16(0xfffe, 300), [-2, 300]],
    U16: [bits16(0xfffe, 300), [65534, 300]],
    F16: [bits16(0x3c00, 0x0001, 0xfc00), [1, 2 ** -24, -Infinity]],
    BF16: [bits16(0x3f80, 0xc049, 0x7fc0), [1, -3.140625, Number.NaN]],
    I32: [bytesOfArray(Int32Array.of(-5, 2 ** 31 - 1)), [-5, 2 ** 31]],
    U32: [bytesOfArray(Uint32Array.of(5, 2 ** 32 - 1)), [5, 2 ** 32]],
    F32: [bytesOfArray(Float32Array.of(0.1, -0, Infinity)), [Math.fround(0.1), -0, Infinity]],
    F64: [bytesOfArray(Float64Array.of(0.1, 1e300)), [Math.fround(0.1), Infinity]],
    I64: [bytesOfArray(BigInt64Array.of(-5n, 2n ** 62n)), [-5, 2 ** 62]],
    U64: [bytesOfArray(BigUint64Array.of(5n, 2n ** 63n)), [5, 2 ** 63]],
  }

  /** Four codes of six bits in three bytes. */
  function sixBits(a: number, b: number, c: number, d: number): Uint8Array {
    const packed = a | (b << 6) | (c << 12) | (d << 18)
    return Uint8Array.of(packed, packed >> 8, packed >> 16)
  }

  test.each(CONVERTIBLE_FORMATS)('converts %s, at an odd byte too', async (dtype) => {
    const [bytes, values] = CASES[dtype]
    const raw = { name: 'a', dtype, shape: [values.length], bytes }
    const one = tensor('one', 'U8', [1])
    for (const backing of BACKINGS) {
      const { checkpoint } = await open([one, raw], backing, headerJson([one, raw]).length % 2)
      const view = checkpoint.tensor('a')
      expect([...view.toFloat32()]).toEqual(values)
      const out = new Float32Array(values.length + 1).fill(7)
      expect(view.toFloat32(out)).toBe(out)
      expect([...out]).toEqual([...values, 7])
      const shared = new Float32Array(new SharedArrayBuffer(values.length * 4))
      expect([...view.toFloat32(shared)]).toEqual(values)
    }
  })

  test('converts every dtype but C64', () => {
    expect(Object.keys(CASES).sort()).toEqual([...CONVERTIBLE_FORMATS].sort())
    expect(DTYPE_NAMES.filter((dtype) => !(dtype in CASES))).toEqual(['C64'])
  })

  test('refuses C64', async () => {
    const view = await openOne(tensor('z', 'C64', [2]))
    expect(view.data).toHaveLength(4)
    const error = await refusal(() => view.toFloat32())
    expect(error).toMatchObject({ code: 'TENSOR_NOT_CONVERTIBLE', tensor: 'z' })
  })

  test('refuses an array that is too short, and leaves it as it was', async () => {
    const view = await openOne(counting([5]))
    const out = new Float32Array(4).fill(7)
    const error = await refusal(() => view.toFloat32(out))
    expect(error).toBeInstanceOf(RangeError)
    expect(error.message).toContain('5 elements')
    expect([...out]).toEqual([7, 7, 7, 7])
  })
})
