import { truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { everyNth, tries } from '../../../test/many-inputs.ts'
import { anyChanges, changed } from './changes.ts'
import { agrees, entriesOf, INDEX, indexJson, plainName, quickly, shardsOf, strictly } from './quick-and-strict.ts'
import {
  fileOf,
  HAS_ADDON,
  headerJson,
  type RawTensor,
  rawFile,
  temporaryFolder,
  tensor,
  utf8,
  write,
} from './support.ts'

const PLAIN = String.fromCharCode(...Array.from({ length: 95 }, (_, at) => at + 0x20)).replace(/["\\]/g, '')

/** A header of tensors without elements. */
function namesOfEveryLength(most: number): string {
  const names = Array.from({ length: most + 1 }, (_, length) => 'n'.repeat(length))
  return `{${names.map((name) => entry(name, 'U8', '[0]', '[0,0]')).join(',')}}`
}

const [a, b] = ['a', 'b'].map((name) => tensor(name)) as [RawTensor, RawTensor]

const A = '"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}'
const B = '"b":{"dtype":"BF16","shape":[1,3],"data_offsets":[2,8]}'

function entry(name: string, dtype: string, shape: string, offsets: string): string {
  return `${JSON.stringify(name)}:{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}`
}

/** A file of this header, opened by itself. */
function alone(json: string | Uint8Array, dataByteLength: number) {
  const path = join(temporaryFolder(), 'x')
  writeSparse(path, json, dataByteLength)
  return agrees([path])
}

/** As much data as the header speaks of, none of it on the disk. */
function writeSparse(path: string, json: string | Uint8Array, dataByteLength: number): void {
  const head = rawFile(json)
  writeFileSync(path, head)
  truncateSync(path, head.byteLength + dataByteLength)
}

describe.runIf(HAS_ADDON)('readQuickly() takes a header with', () => {
  test.each<[condition: string, json: string, dataByteLength: number]>([
    ['no tensor', '{}', 0],
    ['no tensor, padded', '{}      ', 0],
    ['spaces as json.dumps() writes them', `{${A.replaceAll(':', ': ').replaceAll(',', ', ')}}`, 2],
    ['line feeds and tabs', `\n{\n\t${A},\r\n${B} }\n`, 8],
    [
      'a dtype whose name goes on from that of the one before',
      `{${entry('a', 'F8_E4M3', '[]', '[0,1]')},${entry('b', 'F8_E4M3FNUZ', '[]', '[1,2]')}}`,
      2,
    ],
    ['empty metadata', `{"__metadata__":{},${A}}`, 2],
    ['metadata between tensors, with spaces', `{${A},"__metadata__": {"k" : "v", "l":""},${B}}`, 8],
    ['a tensor named like metadata but for the end', `{"__metadata__ ":${A.slice(4)}}`, 2],
    ['a name that is empty', `{"":${A.slice(4)}}`, 2],
    ['a name with every plain character', `{"${PLAIN}":${A.slice(4)}}`, 2],
    ['names of every length up to 40', namesOfEveryLength(40), 0],
    ['names that objects have already', `{"__proto__":${A.slice(4)}}`, 2],
    ['a scalar', '{"a":{"dtype":"F64","shape":[],"data_offsets":[0,8]}}', 8],
    ['a 0 among dimensions', `{${entry('a', 'U8', '[7,0,999999999999999]', '[0,0]')}}`, 0],
    ['many dimensions', `{${entry('a', 'U8', `[1${',1'.repeat(5000)}]`, '[0,1]')}}`, 1],
    ['more bytes than a first read', `{${A}${' '.repeat(200_000)},${B}}`, 8],
  ])('%s', async (_, json, dataByteLength) => {
    expect(await alone(json, dataByteLength)).toEqual({ quick: true, code: 'ok' })
  })
})

describe('readQuickly() leaves to the strict parsers a header with', () => {
  test.each<[condition: string, json: string, dataByteLength: number, code: string]>([
    ['no bytes', '', 0, 'INVALID_HEADER_JSON'],
    ['an object that is not closed', `{${A}`, 2, 'INVALID_HEADER_JSON'],
    ['a comma at the end', `{${A},}`, 2, 'INVALID_HEADER_JSON'],
    ['text behind it', `{${A}} x`, 2, 'INVALID_HEADER_JSON'],
    ['a NUL behind it', `{${A}}\0`, 2, 'INVALID_HEADER_JSON'],
    ['a NUL in a name', `{"a\0":${A.slice(4)}}`, 2, 'INVALID_HEADER_JSON'],
    ['a name that is not closed', '{"a', 0, 'INVALID_HEADER_JSON'],
    ['an unknown dtype', `{${entry('a', 'u8', '[2]', '[0,2]')}}`, 2, 'INVALID_HEADER_JSON'],
    ['a shape that is not closed', '{"a":{"dtype":"U8","shape":[2', 2, 'INVALID_HEADER_JSON'],
    ['offsets that are not closed', '{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2', 2, 'INVALID_HEADER_JSON'],
    ['a leading zero', `{${entry('a', 'U8', '[02]', '[0,2]')}}`, 2, 'INVALID_HEADER_JSON'],
    ['a fraction', `{${entry('a', 'U8', '[2.0]', '[0,2]')}}`, 2, 'INVALID_HEADER_JSON'],
    ['minus 0', `{${entry('a', 'U8', '[-0]', '[0,0]')}}`, 0, 'INVALID_HEADER_JSON'],
    ['metadata that are no object', '{"__metadata__":1}', 0, 'INVALID_HEADER_JSON'],
    ['metadata twice', '{"__metadata__":{},"__metadata__":{}}', 0, 'DUPLICATE_KEY'],
    ['a key of metadata twice', '{"__metadata__":{"k":"","l":"","k":""}}', 0, 'DUPLICATE_KEY'],
    ['a hole', `{${entry('a', 'U8', '[2]', '[1,3]')}}`, 3, 'INVALID_OFFSET'],
    ['offsets that go back', `{${A},${entry('b', 'U8', '[0]', '[2,0]')}}`, 0, 'INVALID_OFFSET'],
    ['half a byte', `{${entry('a', 'F4', '[3]', '[0,1]')}}`, 1, 'MISALIGNED_SLICE'],
    ['an overflow', `{${entry('a', 'U8', '[18446744073709551615,2,0]', '[0,0]')}}`, 0, 'VALIDATION_OVERFLOW'],
    ['another length than the shape says', `{${entry('a', 'U8', '[3]', '[0,2]')}}`, 2, 'TENSOR_INVALID_INFO'],
    ['more data than there is', `{${A}}`, 1, 'METADATA_INCOMPLETE_BUFFER'],
    ['less data than there is', `{${A}}`, 3, 'METADATA_INCOMPLETE_BUFFER'],
    ['metadata that are null', '{"__metadata__":null}', 0, 'ok'],
    ['metadata with escapes', `{"__metadata__":{"k":"\\n"},${A}}`, 2, 'ok'],
    ['metadata beyond ASCII', `{"__metadata__":{"é":"ü"},${A}}`, 2, 'ok'],
    ['fields in another order', '{"a":{"shape":[2],"dtype":"U8","data_offsets":[0,2]}}', 2, 'ok'],
    ['a further field', `{${A.replace('}', ',"x":1}')}}`, 2, 'ok'],
    ['tensors in another order than their data', `{${B},${A}}`, 8, 'ok'],
    ['an escape in a name', `{"\\u0061":${A.slice(4)}}`, 2, 'ok'],
    ['an escape in a dtype', `{${A.replace('U8', '\\u00558')}}`, 2, 'ok'],
    ['a name beyond ASCII', `{"é":${A.slice(4)}}`, 2, 'ok'],
    ['a number of 16 digits', `{${entry('a', 'U8', '[0,9007199254740993]', '[0,0]')}}`, 0, 'ok'],
    ['a product above 2^53 that comes to 0', `{${entry('a', 'U8', '[100000000,100000000,0]', '[0,0]')}}`, 0, 'ok'],
  ])('%s: %s', async (_, json, dataByteLength, code) => {
    const expected = code === 'ok' ? code : `SAFETENSORS_${code}`
    expect(await alone(json, dataByteLength)).toEqual({ quick: false, code: expected })
  })

  test.each([
    ['a name', `{"a\xff":${A.slice(4)}}`],
    ['metadata', `{"__metadata__":{"k":"\xff"},${A}}`],
  ])('bytes in %s that are not UTF-8', async (_, latin1) => {
    const expected = { quick: false, code: 'SAFETENSORS_INVALID_HEADER_UTF8' }
    expect(await alone(Buffer.from(latin1, 'latin1'), 2)).toEqual(expected)
  })
})

/** An index over a shard `x` and a shard `y` with a tensor each, `a` and `b`. */
function indexed(json: string | Uint8Array) {
  const folder = temporaryFolder()
  write(folder, 'x', fileOf([a]))
  write(folder, 'y', fileOf([b]))
  return agrees(write(folder, INDEX, json))
}

const WEIGHTS = '"weight_map":{"a":"x","b":"y"}'

describe.runIf(HAS_ADDON)('readQuickly() takes an index with', () => {
  test.each<[condition: string, json: string]>([
    ['nothing but the map', `{${WEIGHTS}}`],
    ['spaces', ` {\n"weight_map" : {"a" :"x",\t"b": "y" }\t}\r\n`],
    ['metadata in front', `{"metadata":{"total_size":12,"total_parameters":3,"format":"pt"},${WEIGHTS}}`],
    ['metadata behind', `{${WEIGHTS},"metadata":{}}`],
    ...['12.0', '1.2e10', '0', '-1', '0.5E+3', '"12"', '9'.repeat(200), `${'9'.repeat(200)}.5e99`, '1e-99'].map(
      (size) => [`a total_size of ${size}`, `{"metadata": {"total_size": ${size}}, ${WEIGHTS}}`] as [string, string],
    ),
  ])('%s', async (_, json) => {
    expect(await indexed(json)).toEqual({ quick: true, code: 'ok' })
  })
})

describe('readQuickly() leaves to the strict parsers an index with', () => {
  test.each<[condition: string, json: string, code: string]>([
    ['no bytes', '', 'INVALID_INDEX'],
    ['an array', '[]', 'INVALID_INDEX'],
    ['a byte order mark', `\ufeff{${WEIGHTS}}`, 'INVALID_INDEX'],
    ['no weight_map', '{"metadata":{}}', 'INVALID_INDEX'],
    ['a map that is not closed', '{"weight_map":{"a":"x"', 'INVALID_INDEX'],
    ['a comma at the end', '{"weight_map":{"a":"x",}}', 'INVALID_INDEX'],
    ['a shard that is a number', '{"weight_map":{"a":1}}', 'INVALID_INDEX'],
    ['text behind it', `{${WEIGHTS}} x`, 'INVALID_INDEX'],
    ...['01', '1.', '.5', '1e', '--1', '+1', '1e+', '0x1', 'nul'].map(
      (size) =>
        [`a total_size of ${size}`, `{"metadata":{"total_size":${size}},${WEIGHTS}}`, 'INVALID_INDEX'] as [
          string,
          string,
          string,
        ],
    ),
    ...['1e999', '-1e999', '1e309', `1${'0'.repeat(309)}`, `${'9'.repeat(220)}e99`].map(
      (size) =>
        [`a number beyond a double, ${size}`, `{"metadata":{"k":${size}},${WEIGHTS}}`, 'INVALID_INDEX'] as [
          string,
          string,
          string,
        ],
    ),
    ['a number near the end of doubles', `{"metadata":{"k":1e308},${WEIGHTS}}`, 'ok'],
    ['the map twice', `{${WEIGHTS},${WEIGHTS}}`, 'DUPLICATE_KEY'],
    ['metadata twice', `{"metadata":{},${WEIGHTS},"metadata":{}}`, 'DUPLICATE_KEY'],
    ['a key of metadata twice', `{"metadata":{"k":1,"k":1},${WEIGHTS}}`, 'DUPLICATE_KEY'],
    ['a shard in another folder', '{"weight_map":{"a":"x","b":"../x"}}', 'UNSAFE_SHARD_NAME'],
    ['a shard with an absolute path', '{"weight_map":{"a":"x","b":"/etc/passwd"}}', 'UNSAFE_SHARD_NAME'],
    ['a shard without a name', '{"weight_map":{"a":""}}', 'UNSAFE_SHARD_NAME'],
    ['the folder as a shard', '{"weight_map":{"a":"."}}', 'UNSAFE_SHARD_NAME'],
    ['a dot at the end of a shard', '{"weight_map":{"a":"x."}}', 'UNSAFE_SHARD_NAME'],
    ...['CON', 'nul.safetensors', 'Com7.x', 'lpt0', 'aux.', 'PRN.a.b'].map(
      (name) =>
        [`the device ${name}`, `{"weight_map":{"a":"${name}"}}`, 'UNSAFE_SHARD_NAME'] as [string, string, string],
    ),
    ['a number in metadata that is null', `{"metadata":{"total_size":null},${WEIGHTS}}`, 'ok'],
    ['metadata that are null', `{"metadata":null,${WEIGHTS}}`, 'ok'],
    ['metadata in metadata', `{"metadata":{"k":{}},${WEIGHTS}}`, 'ok'],
    ['an unknown member', `{"z":1,${WEIGHTS}}`, 'ok'],
    ['an escape in a name', '{"weight_map":{"\\u0061":"x","b":"y"}}', 'ok'],
    ['an escape in a shard', '{"weight_map":{"a":"\\u0078","b":"y"}}', 'ok'],
  ])('%s: %s', async (_, json, code) => {
    expect(await indexed(json)).toEqual({ quick: false, code: code === 'ok' ? code : `SAFETENSORS_${code}` })
  })
})

describe.runIf(HAS_ADDON)('readQuickly() never takes what the strict parsers refuse:', () => {
  const STRIDE = 41 // shares no factor with the number of variants at a place
  const note = '"__metadata__":{"k":"v"}'
  const header = utf8(`{${note},${A},${B},"":{"dtype":"F4","shape":[0],"data_offsets":[8,8]}}  `)
  const index = utf8(`{"metadata":{"total_size":1.0,"k":"v"},${WEIGHTS}}`)
  const replacements = [0x00, 0x0a, 0x1f, 0x20, ...utf8('"\\,:{}[]-019aeU'), 0x7f, 0x80, 0xff]

  /** Every beginning, and the whole with any one byte left out, replaced or put in. */
  function* variantsOf(json: Uint8Array): Generator<Uint8Array> {
    for (let at = 0; at <= json.length; at++) {
      const [before, rest] = [json.subarray(0, at), json.subarray(at)]
      yield before
      yield Buffer.concat([before, rest.subarray(1)])
      for (const byte of replacements) {
        yield Buffer.concat([before, Uint8Array.of(byte), rest])
        yield Buffer.concat([before, Uint8Array.of(byte), rest.subarray(1)])
      }
    }
  }

  /** Whether it was taken; then the strict parsers give the same. */
  async function taken(source: string | readonly string[]): Promise<boolean> {
    const quick = await quickly(source)
    if (quick !== null) expect(quick).toEqual(strictly(source))
    return quick !== null
  }

  test('headers that differ by a byte', async () => {
    const path = join(temporaryFolder(), 'x')
    let count = 0
    for (const json of everyNth(variantsOf(header), STRIDE)) {
      writeSparse(path, json, 8)
      if (await taken([path])) count++
    }
    expect(count).toBeGreaterThan(5)
  })

  test('indices that differ by a byte', async () => {
    const folder = temporaryFolder()
    write(folder, 'x', fileOf([a]))
    write(folder, 'y', fileOf([b]))
    let count = 0
    for (const json of everyNth(variantsOf(index), STRIDE)) if (await taken(write(folder, INDEX, json))) count++
    expect(count).toBeGreaterThan(5)
  })

  test('random headers with bytes changed, cut and added', async () => {
    const path = join(temporaryFolder(), 'x')
    let count = 0
    const property = fc.asyncProperty(shardsOf(plainName), anyChanges, async (shards, changes) => {
      const tensors = shards.flat()
      const dataByteLength = tensors.reduce((sum, { bytes }) => sum + bytes.byteLength, 0)
      writeSparse(path, changed(utf8(headerJson(tensors, { format: 'pt' })), changes), dataByteLength)
      if (await taken([path])) count++
    })
    await fc.assert(property, tries(120))
    // One in four is left as it is but for white space.
    expect(count).toBeGreaterThan(15)
  })

  test('random indices with bytes changed, cut and added', async () => {
    const folder = temporaryFolder()
    let count = 0
    const property = fc.asyncProperty(shardsOf(plainName), anyChanges, async (shards, changes) => {
      for (const [at, tensors] of shards.entries()) write(folder, `x${at}`, fileOf(tensors))
      if (await taken(write(folder, INDEX, changed(utf8(indexJson(entriesOf(shards))), changes)))) count++
    })
    await fc.assert(property, tries(120))
    // One in four is left as it is but for white space.
    expect(count).toBeGreaterThan(15)
  })

  test('random numbers in headers and in the metadata of indices', async () => {
    const digits = fc.oneof(
      fc.constantFrom(
        '0',
        '2',
        '00',
        '02',
        '9007199254740993',
        '18446744073709551616',
        '9'.repeat(200),
        '9'.repeat(400),
      ),
      fc.bigInt({ min: 0n, max: 2n ** 70n }).map(String),
    )
    const fraction = fc.constantFrom('', '', '.0', '.5', '.', `.${'7'.repeat(300)}`)
    const exponent = fc.constantFrom('', '', 'e0', 'E+2', 'e-99', 'e99', 'e100', 'e308', 'e309', 'e999', 'e')
    const number = fc
      .tuple(fc.constantFrom('', '', '-', '+'), digits, fraction, exponent)
      .map((parts) => parts.join(''))
    const folder = temporaryFolder()
    write(folder, 'x', fileOf([a]))
    write(folder, 'y', fileOf([b]))
    const alone = join(folder, 'z')
    let count = 0
    const property = fc.asyncProperty(number, number, async (one, other) => {
      if (await taken(write(folder, INDEX, `{"metadata":{"k":${one}},${WEIGHTS}}`))) count++
      writeSparse(alone, `{${entry('a', 'U8', `[${one},${other}]`, '[0,0]')}}`, 0)
      if (await taken([alone])) count++
    })
    await fc.assert(property, tries(120))
    expect(count).toBeGreaterThan(5)
  })
})
