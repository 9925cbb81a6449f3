import { describe, expect, test } from 'vitest'
import * as safetensors from '../src/index.ts'

const {
  assertPlainShardName,
  checkMetadata,
  gather,
  indexFileName,
  indexHeaders,
  parseHeader,
  parseSafetensors,
  parseShardFileName,
  parseShardIndex,
  readHeaderLength,
  resolveSelected,
  resolveSelection,
  resolveSlice,
  serialize,
  serializeHeader,
  serializeShardIndex,
  shardFileName,
  tensorByteLength,
  tensorIndex,
  validateSelection,
} = safetensors

/** A call with something that cannot be, whatever the types say. */
// biome-ignore lint/suspicious/noExplicitAny: wrong calls are what this is about
type Wrong = any

const BYTES = new Uint8Array(8)
const FORM = () => ({ dtype: 'F32' as const, shape: [4, 4] })
const TENSOR = { name: 'a', dtype: 'U8', shape: [1], data: new Uint8Array(1) }
const slice = (...ranges: Wrong[]) => resolveSlice('F32', [4, 4], ranges)

/** Calls by the function that refuses them: a TypeError or RangeError that names what is wrong, or the room's own error. */
const CALLS: Readonly<Record<string, readonly (readonly [call: () => unknown, text: RegExp])[]>> = {
  parseHeader: [
    [() => parseHeader('{}' as Wrong, 0), /The header is "\{\}"; it must be a Uint8Array/],
    [() => parseHeader(undefined as Wrong, 0), /The header is undefined/],
    [() => parseHeader(BYTES, -1), /The byte length of the data is -1; it must be a whole number, 0 or more/],
    [() => parseHeader(BYTES, '8' as Wrong), /The byte length of the data is "8"/],
  ],
  parseSafetensors: [
    [() => parseSafetensors(null as Wrong), /The file is null; it must be a Uint8Array/],
    [() => parseSafetensors(new ArrayBuffer(8) as Wrong), /The file is an object of class "ArrayBuffer"/],
  ],
  parseShardIndex: [[() => parseShardIndex({ weight_map: {} } as Wrong), /The shard index is an object/]],
  readHeaderLength: [
    [() => readHeaderLength(new Uint16Array(4) as Wrong, 8), /The first bytes of the file is an object of class/],
    [() => readHeaderLength(BYTES, 1.5), /The byte length of the file is 1.5/],
  ],
  serialize: [
    [() => serialize({ a: TENSOR } as Wrong), /The tensors is an object; it must be a list/],
    [() => serialize(['a'] as Wrong), /Entry 0 of the tensors is "a"/],
    [() => serialize([{ ...TENSOR, data: [1] }] as Wrong), /The data of tensor "a" is a list of 1/],
    [() => serialize([{ ...TENSOR, data: new Float32Array(1) }] as Wrong), /The data of tensor "a" is .*Float32Array/],
    [() => serialize([{ ...TENSOR, name: 5 }] as Wrong), /The name of entry 0 of the tensors is 5; it must be a text/],
    [() => serialize([TENSOR] as Wrong, { format: 1 } as Wrong), /The metadata under "format" is 1/],
  ],
  serializeHeader: [
    [() => serializeHeader(undefined as Wrong), /The tensors is undefined/],
    [
      () => serializeHeader([{ ...TENSOR, shape: 4 }] as Wrong),
      /The shape of tensor "a" is 4; it must be a list of sizes/,
    ],
    [() => serializeHeader([], 'pt' as Wrong), /The metadata is "pt"; it must be a Map or object of texts, or null/],
    [() => serializeHeader([{ ...TENSOR, shape: [-1] }] as Wrong), /Dimension 0 is -1/],
    [() => serializeHeader([{ ...TENSOR, dtype: 'F33' }] as Wrong), /unknown dtype "F33"/],
  ],
  serializeShardIndex: [
    [() => serializeShardIndex(undefined as Wrong), /The shard index is undefined/],
    [
      () => serializeShardIndex({ weightMap: {}, totalSize: 0 } as Wrong),
      /The weightMap of a shard index is an object/,
    ],
    [() => serializeShardIndex({ weightMap: new Map(), totalSize: -1 }), /totalSize -1/],
  ],
  checkMetadata: [[() => checkMetadata('The metadata', 5), /The metadata is 5/]],
  resolveSlice: [
    [() => slice([3]), /The range of dimension 0 is a list of 1; it must be a number, null, \[start, stop\]/],
    [() => slice([0, 2, 1, 99]), /The range of dimension 0 is a list of 4/],
    [() => slice(null, undefined), /The range of dimension 1 is undefined/],
    [() => slice(['0', 2]), /The range of dimension 0 is a list of 2/],
    [() => slice('0:2'), /The range of dimension 0 is "0:2"/],
    [() => slice([0, 2, 0]), /step 0 in dimension 0/],
    [() => slice(4), /index 4 in dimension 0/],
    [() => slice(0, 0, 0), /3 ranges, but the tensor has 2 dimensions/],
  ],
  resolveSelected: [
    [() => resolveSelected('F32', [4], [5 as Wrong]), /The range of dimension 0 must be \[start, stop\]/],
  ],
  resolveSelection: [
    [() => resolveSelection(undefined as Wrong, FORM), /A selection must be an object/],
    [() => resolveSelection({ tensors: [], layuot: 'a' } as Wrong, FORM), /A selection has a member "layuot"/],
    [
      () => resolveSelection({ tensors: [{ name: 'a', range: [] }] } as Wrong, FORM),
      /The selected tensor "a" has a member "range"/,
    ],
    [
      () => resolveSelection({ tensors: [{ name: 5 }] } as Wrong, FORM),
      /Every selected tensor must be an object with a name/,
    ],
  ],
  validateSelection: [[() => validateSelection({ tensors: 'a' } as Wrong, FORM), /A selection must be an object/]],
  shardFileName: [
    [() => shardFileName(undefined as Wrong), /The name of a shard is undefined/],
    [() => shardFileName({ index: 2, count: 1 }), /Shard 2 of 1/],
    [() => shardFileName({ index: 1, count: 1, stam: 'x' } as Wrong), /shardFileName\(\) has no option "stam"/],
  ],
  indexFileName: [
    [() => indexFileName({ stem: 5 } as Wrong), /The option stem of indexFileName\(\) is 5/],
    [() => indexFileName({ varient: 'x' } as Wrong), /indexFileName\(\) has no option "varient"/],
  ],
  parseShardFileName: [[() => parseShardFileName(5 as Wrong), /The name of a shard is 5; it must be a text/]],
  assertPlainShardName: [[() => assertPlainShardName(null as Wrong), /The name of a shard is null/]],
  indexHeaders: [
    [() => indexHeaders([{ name: 'a' }] as Wrong), /What indexHeaders\(\) takes is a list of 1/],
    [
      () => indexHeaders([{ name: 'a', byteLength: 8, header: { tensors: new Map(), metadata: null } }] as Wrong),
      /must be a list of shards with name, byteLength, dataOffset and header/,
    ],
  ],
  tensorIndex: [
    [() => tensorIndex([], [{ name: 'a', dtype: 'U8', shape: [1], shard: 1, begin: 0, end: 1 }]), /"a" is in shard 1/],
  ],
  tensorByteLength: [[() => tensorByteLength('F32', [0.5]), /Dimension 0 is 0.5/]],
  gather: [[() => gather(BYTES, slice(0)), /The source has 8 bytes, but must have 64/]],
}

/** Asked for every tensor or byte, with what others of the house have checked. */
const INNER = [
  'compareDtypes',
  'compareUtf8',
  'dtypeBits',
  'extentChoices',
  'extentsOf',
  'forEachCopy',
  'forEachRun',
  'gatherSelected',
  'isDtype',
  'joinTouching',
  'layoutText',
  'nearestNames',
  'quoteName',
  'withPath',
]
/** Tested where they are. */
const OTHERS = ['checkArgument', 'checkOptions', 'escapeGlob', 'globMatcher', 'moduleGlob', 'parseGlob']

describe.each(Object.entries(CALLS))('%s()', (_, calls) => {
  test.each(calls.map(([call, text]) => [text.source, call, text] as const))('refuses: %s', (_, call, text) => {
    let thrown: unknown
    try {
      call()
    } catch (error) {
      thrown = error
    }
    expect(thrown).toBeInstanceOf(Error)
    const { name, code, message } = thrown as Error & { code?: string }
    expect(message).toMatch(text)
    // What no type can rule out, such as a value of a file, has a code.
    expect(code?.startsWith('SAFETENSORS_') || name === 'TypeError' || name === 'RangeError').toBe(true)
  })
})

test('every function of the room is here, or one that checks nothing, for a reason', () => {
  const functions = Object.entries(safetensors).flatMap(([name, value]) => {
    return typeof value === 'function' && !/^class /.test(String(value)) ? [name] : []
  })
  expect(functions.sort()).toEqual([...Object.keys(CALLS), ...INNER, ...OTHERS].sort())
})
