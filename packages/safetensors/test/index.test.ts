import { expect, test } from 'vitest'
import * as safetensors from '../src/index.ts'

test('the package exports these values', () => {
  expect(Object.keys(safetensors).sort()).toEqual([
    'DTYPES',
    'DTYPE_NAMES',
    'HEADER_PREFIX_BYTES',
    'MAX_HEADER_BYTES',
    'MAX_INDEX_BYTES',
    'SafetensorsError',
    'assertPlainShardName',
    'compareDtypes',
    'compareUtf8',
    'dtypeBits',
    'forEachRun',
    'gather',
    'indexFileName',
    'isDtype',
    'parseHeader',
    'parseSafetensors',
    'parseShardFileName',
    'parseShardIndex',
    'quoteName',
    'readHeaderLength',
    'resolveSlice',
    'serialize',
    'serializeHeader',
    'serializeShardIndex',
    'shardFileName',
    'tensorByteLength',
    'validateSelection',
    'withPath',
  ])
})
