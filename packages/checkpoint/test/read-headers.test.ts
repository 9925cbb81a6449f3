import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { openCheckpoint } from '../src/index.ts'
import { closeShards } from '../src/open-shard.ts'
import { readHeaders } from '../src/read-headers.ts'
import {
  descriptorsIn,
  expectNothingOpen,
  fileOf,
  rawFile,
  refusal,
  temporaryFolder,
  tensor,
  write,
} from './support.ts'

const A = tensor('a', 'U8', [4])
const GOOD = fileOf([A])
const DATA = new Uint8Array(8)
const TWICE = '"a":{"dtype":"U8","shape":[4],"data_offsets":[@]}'
const TWICE_FILE = rawFile(`{${TWICE.replace('@', '0,4')},${TWICE.replace('@', '4,8')}}`, DATA)

function one(info: string): string {
  return `{"a":${info}}`
}

describe('openCheckpoint() refuses with the code and the path', () => {
  test.each<[condition: string, code: string, file: Uint8Array]>([
    ['an empty file', 'HEADER_TOO_SMALL', new Uint8Array()],
    ['a file of 7 bytes', 'HEADER_TOO_SMALL', new Uint8Array(7)],
    ['a length above the limit', 'HEADER_TOO_LARGE', rawFile('{}', undefined, 100_000_001)],
    ['a length of 2^64 - 1', 'HEADER_TOO_LARGE', rawFile('{}', undefined, 2n ** 64n - 1n)],
    ['a length beyond the file', 'INVALID_HEADER_LENGTH', rawFile('{}', undefined, 3)],
    ['a length that is the limit itself', 'INVALID_HEADER_LENGTH', rawFile('{}', undefined, 100_000_000)],
    ['a header that is not UTF-8', 'INVALID_HEADER_UTF8', rawFile(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d))],
    ['a length of 0', 'INVALID_HEADER_JSON', rawFile('')],
    ['a length that is too short', 'INVALID_HEADER_JSON', rawFile('{}', undefined, 1)],
    ['a header that is no object', 'INVALID_HEADER_JSON', rawFile('[]')],
    ['a key that comes twice', 'DUPLICATE_KEY', rawFile('{"__metadata__":{},"__metadata__":{}}')],
    ['a hole', 'INVALID_OFFSET', rawFile(one('{"dtype":"U8","shape":[4],"data_offsets":[4,8]}'), DATA)],
    [
      'a shape that overflows',
      'VALIDATION_OVERFLOW',
      rawFile(one('{"dtype":"U8","shape":[18446744073709551615,2,0],"data_offsets":[0,0]}')),
    ],
    ['half a byte', 'MISALIGNED_SLICE', rawFile(one('{"dtype":"F4","shape":[3],"data_offsets":[0,2]}'), DATA)],
    ['a wrong length', 'TENSOR_INVALID_INFO', rawFile(one('{"dtype":"F32","shape":[3],"data_offsets":[0,8]}'), DATA)],
    ['a file that is cut', 'METADATA_INCOMPLETE_BUFFER', GOOD.subarray(0, -1)],
    ['a byte behind the data', 'METADATA_INCOMPLETE_BUFFER', Buffer.concat([GOOD, Uint8Array.of(0)])],
    ['a tensor that comes twice', 'DUPLICATE_KEY', TWICE_FILE],
    ['data without a tensor', 'METADATA_INCOMPLETE_BUFFER', rawFile('{}', DATA)],
  ])('%s: %s', async (_, code, file) => {
    const folder = temporaryFolder()
    const good = write(folder, 'good.safetensors', fileOf([tensor('good')]))
    const path = write(folder, 'bad.safetensors', file)
    for (const source of [path, [good, path]]) {
      const error = await refusal(openCheckpoint(source))
      expect(error).toMatchObject({ name: 'SafetensorsError', code: `SAFETENSORS_${code}`, path })
      expect(error.message).toContain(path)
    }
    expectNothingOpen(folder)
  })
})

describe('readHeaders()', () => {
  test('keeps the order of the paths and closes nothing before it is told', async () => {
    const folder = temporaryFolder()
    const paths = Array.from({ length: 40 }, (_, at) =>
      write(folder, `${at}.safetensors`, fileOf([tensor(`t${at}`)], { padding: ((at * 7) % 40) * 1000 })),
    )
    const shards = await readHeaders(paths)
    expect(shards.map(({ path }) => path)).toEqual(paths)
    expect(shards.map(({ json }) => Object.keys(JSON.parse(Buffer.from(json).toString())))).toEqual(
      paths.map((_, at) => [`t${at}`]),
    )
    expect(descriptorsIn(folder)).toHaveLength(40)
    closeShards(shards)
    expectNothingOpen(folder)
  })

  test('tells where the data begins, also behind an unpadded header', async () => {
    const path = write(temporaryFolder(), 'x.safetensors', GOOD)
    const shards = await readHeaders([path])
    expect(shards[0]).toMatchObject({ byteLength: GOOD.byteLength, dataOffset: GOOD.byteLength - 4 })
    closeShards(shards)
  })

  test.each([
    ['missing', 'SHARD_NOT_FOUND'],
    ['cut', 'SAFETENSORS_INVALID_HEADER_LENGTH'],
  ])('closes all descriptors when the last of many shards is %s', async (state, code) => {
    const folder = temporaryFolder()
    const paths = Array.from({ length: 60 }, (_, at) => write(folder, `${at}.safetensors`, fileOf([tensor(`t${at}`)])))
    const last = join(folder, 'last.safetensors')
    if (state === 'cut') write(folder, 'last.safetensors', GOOD.subarray(0, 20))
    expect(await refusal(readHeaders([...paths, last]))).toMatchObject({ code, path: last })
    expectNothingOpen(folder)
  })

  test('reports the first bad shard in the order of the paths', async () => {
    const folder = temporaryFolder()
    const paths = ['a', 'b', 'c'].map((name) => join(folder, name))
    expect((await refusal(readHeaders(paths))).path).toBe(paths[0])
  })

  test.each(['before', 'after'])(
    'reports a missing shard first, also %s one whose header is refused',
    async (where) => {
      const folder = temporaryFolder()
      const missing = join(folder, 'missing')
      const twice = write(folder, 'twice', TWICE_FILE)
      const bad = where === 'before' ? [missing, twice] : [twice, missing]
      const paths = [write(folder, 'good', GOOD), ...bad]
      expect(await refusal(openCheckpoint(paths))).toMatchObject({ code: 'SHARD_NOT_FOUND', path: missing })
      expectNothingOpen(folder)
    },
  )

  test('stops and closes when the signal is aborted on the way', async () => {
    const folder = temporaryFolder()
    const paths = Array.from({ length: 30 }, (_, at) => write(folder, `${at}.safetensors`, fileOf([tensor(`t${at}`)])))
    const abort = new AbortController()
    const reading = readHeaders(paths, abort.signal)
    abort.abort(new TypeError('enough'))
    expect((await refusal(reading)).message).toBe('enough')
    expectNothingOpen(folder)
  })
})
