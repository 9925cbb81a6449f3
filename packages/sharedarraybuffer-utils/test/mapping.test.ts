import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import {
  constants,
  fstatSync,
  linkSync,
  openSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { adoptDescriptor, openRegularFile } from '../src/descriptor.ts'
import { adoptFileMapping, mapDescriptor, mapFile, type PartTable } from '../src/mapping.ts'
import { residentBytes } from '../src/residency.ts'
import {
  describeWithAddon,
  descriptorsOf,
  failure,
  mapsOf,
  patternBytes,
  temporaryFolder,
  writePattern,
} from './support.ts'

const PAGE = 4096

describeWithAddon('mapping', () => {
  const folder = temporaryFolder()
  const byteLength = 3 * PAGE + 17
  const path = writePattern(folder, 'weights', byteLength)
  const bytes = patternBytes(byteLength)

  test('mapFile() shows the right bytes at odd offsets and lengths', () => {
    using mapping = mapFile(path)
    expect(mapping).toMatchObject({ backing: 'file', path, byteLength, closed: false })
    for (const [begin, end] of [
      [0, byteLength],
      [1, 2],
      [3, 4099],
      [PAGE - 1, PAGE + 1],
      [byteLength - 1, byteLength],
      [4097, 4097 + 64],
    ] as const) {
      const buffer = mapping.buffer(begin, end)
      expect(buffer).toBeInstanceOf(SharedArrayBuffer)
      expect(buffer.byteLength).toBe(end - begin)
      expect(Buffer.from(buffer).equals(bytes.subarray(begin, end))).toBe(true)
    }
  })

  test('mapFile() reads multi-byte numbers from a misaligned place', () => {
    using mapping = mapFile(path)
    const view = new DataView(bytes.buffer)
    const doubles = new Float64Array(mapping.buffer(3, 3 + 8 * 100))
    const integers = new BigInt64Array(mapping.buffer(5, 5 + 8 * 100))
    for (let i = 0; i < 100; i++) {
      expect(doubles[i]).toBe(view.getFloat64(3 + 8 * i, true))
      expect(integers[i]).toBe(view.getBigInt64(5 + 8 * i, true))
    }
  })

  test('buffer() of no bytes is an empty buffer at every place, the end included', () => {
    using mapping = mapFile(path)
    for (const at of [0, 1, byteLength]) expect(mapping.buffer(at, at).byteLength).toBe(0)
  })

  test('mapDescriptor() leaves the descriptor to its owner and works on after it was closed', () => {
    const descriptor = openRegularFile(path)
    const mapping = mapDescriptor(descriptor, 'a name for messages', { expectedByteLength: byteLength })
    expect(fstatSync(descriptor.number).size).toBe(byteLength)
    descriptor.close()
    expect(mapping.path).toBe('a name for messages')
    expect(Buffer.from(mapping.buffer(0, byteLength)).equals(bytes)).toBe(true)
    mapping.close()
  })

  test('mapDescriptor() says DESCRIPTOR_CLOSED for one that was closed', async () => {
    const descriptor = openRegularFile(path)
    descriptor.close()
    await failure(() => mapDescriptor(descriptor, path), 'DESCRIPTOR_CLOSED')
  })

  test.each([undefined, '1960-01-01', '2300-01-01'])(
    'identity says which file in which state is shown, modified %s',
    (day) => {
      if (day !== undefined) utimesSync(path, new Date(), new Date(day))
      using mapping = mapFile(path)
      const { dev, ino, mtimeNs } = statSync(path, { bigint: true })
      expect(mapping.identity).toEqual({ device: dev, inode: ino, modifiedNs: mtimeNs, byteLength })
    },
  )

  test('mapFile() says FILE_CHANGED with both sizes when expectedByteLength is not what is there', async () => {
    const file = writePattern(folder, 'changed', byteLength)
    for (const expectedByteLength of [0, byteLength - 1, byteLength + 1, Number.MAX_SAFE_INTEGER]) {
      const error = await failure(() => mapFile(file, { expectedByteLength }), 'FILE_CHANGED')
      expect(error).toMatchObject({ path: file, actualBytes: byteLength, expectedBytes: expectedByteLength })
      expect(error.message).toContain(String(byteLength))
      expect(error.message).toContain(String(expectedByteLength))
    }
    expect([mapsOf(file), descriptorsOf(file)]).toEqual([0, 0])
    using mapping = mapFile(file, { expectedByteLength: byteLength })
    expect([mapsOf(file), descriptorsOf(file)]).toEqual([1, 1])
    expect(mapping.byteLength).toBe(byteLength)
  })

  test('mapFile() says RANGE_OUT_OF_BOUNDS for an expectedByteLength that no file can have', async () => {
    for (const expectedByteLength of [-1, Number.NaN, 0.5, 2 ** 53, Number.POSITIVE_INFINITY]) {
      await failure(() => mapFile(path, { expectedByteLength }), 'RANGE_OUT_OF_BOUNDS')
    }
  })

  test('mapFile() says FILE_NOT_REGULAR for a folder, FIFO, device and socket, and waits on none', async () => {
    const fifo = join(folder, 'fifo')
    execFileSync('mkfifo', [fifo])
    const socket = join(folder, 'socket')
    const server = createServer().listen(socket)
    await once(server, 'listening')
    const link = join(folder, 'link-to-fifo')
    symlinkSync(fifo, link)
    try {
      for (const [special, found] of [
        [folder, 'a folder'],
        [fifo, 'a FIFO'],
        [link, 'a FIFO'],
        ['/dev/null', 'a device'],
        [socket, 'a socket'],
      ] as const) {
        const error = await failure(() => mapFile(special), 'FILE_NOT_REGULAR')
        expect(error.path).toBe(special)
        expect(error.message).toContain(found)
      }
      expect(descriptorsOf(folder) + descriptorsOf(fifo)).toBe(0)
    } finally {
      server.close()
    }
  })

  test('mapDescriptor() says FILE_NOT_REGULAR for descriptors of a folder, FIFO and device', async () => {
    const fifo = join(folder, 'open-fifo')
    execFileSync('mkfifo', [fifo])
    for (const special of [folder, fifo, '/dev/null']) {
      using descriptor = adoptDescriptor(openSync(special, constants.O_RDONLY | constants.O_NONBLOCK))
      expect((await failure(() => mapDescriptor(descriptor, special), 'FILE_NOT_REGULAR')).path).toBe(special)
    }
  })

  test("mapFile() lets the system's own error through when the file is missing", () => {
    expect(() => mapFile(join(folder, 'missing'))).toThrow(expect.objectContaining({ code: 'ENOENT' }))
    expect(() => mapFile(join(path, 'below-a-file'))).toThrow(expect.objectContaining({ code: 'ENOTDIR' }))
    expect(() => mapFile('with\0nul')).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }))
  })

  test('mapFile() maps an empty file', async () => {
    const empty = join(folder, 'empty')
    writeFileSync(empty, '')
    const mapping = mapFile(empty, { expectedByteLength: 0 })
    expect(mapping.byteLength).toBe(0)
    expect(mapping.buffer(0, 0).byteLength).toBe(0)
    expect(residentBytes(mapping)).toBe(0)
    await failure(() => mapping.buffer(0, 1), 'RANGE_OUT_OF_BOUNDS')
    expect(descriptorsOf(empty)).toBe(1)
    mapping.close()
    expect(descriptorsOf(empty)).toBe(0)
  })

  test('mapFile() gives two opens of one file one mapping, by whatever name', () => {
    const file = writePattern(folder, 'shared', PAGE)
    const [link, hardLink] = [join(folder, 'shared-link'), join(folder, 'shared-hard-link')]
    symlinkSync(file, link)
    linkSync(file, hardLink)
    const mappings = [file, file, link, hardLink].map((name) => mapFile(name))
    expect(new Set(mappings.map(({ id }) => id)).size).toBe(1)
    expect(new Set(mappings.map(({ address }) => address)).size).toBe(1)
    expect([mapsOf(file), descriptorsOf(file)]).toEqual([1, 1])
    for (const mapping of mappings.slice(1)) mapping.close()
    expect(Buffer.from(mappings[0]!.buffer(0, PAGE)).equals(patternBytes(PAGE))).toBe(true)
    expect([mapsOf(file), descriptorsOf(file)]).toEqual([1, 1])
    mappings[0]!.close()
  })

  test('mapFile() gives a file that was replaced, or written again, a mapping of its own', () => {
    const file = writePattern(folder, 'replaced', PAGE, 1)
    using first = mapFile(file)
    renameSync(writePattern(folder, 'replacement', PAGE, 2), file)
    using second = mapFile(file)
    expect(second.id).not.toBe(first.id)
    expect(second.identity.inode).not.toBe(first.identity.inode)
    utimesSync(file, 1_700_000_000, 1_700_000_000)
    using third = mapFile(file)
    expect(third.id).not.toBe(second.id)
    expect(third.identity.inode).toBe(second.identity.inode)
    expect(Buffer.from(first.buffer(0, PAGE)).equals(patternBytes(PAGE, 1))).toBe(true)
    expect(Buffer.from(second.buffer(0, PAGE)).equals(patternBytes(PAGE, 2))).toBe(true)
    expect(Buffer.from(third.buffer(0, PAGE)).equals(patternBytes(PAGE, 2))).toBe(true)
  })

  test('close() is idempotent, takes back one handle alone, and MAPPING_CLOSED follows', async () => {
    const file = writePattern(folder, 'closed', byteLength)
    const [mapping, other] = [mapFile(file), mapFile(file)]
    mapping.close()
    mapping.close()
    mapping[Symbol.dispose]()
    expect(mapping.closed).toBe(true)
    expect(other.closed).toBe(false)
    expect(mapsOf(file)).toBe(1)
    for (const call of [
      () => mapping.buffer(0, 1),
      () => mapping.buffer(0, 0),
      () => mapping.buffer(Number.NaN, -1),
      () => mapping.describe(partTable()),
      () => residentBytes(mapping),
    ]) {
      expect((await failure(call, 'MAPPING_CLOSED')).path).toBe(file)
    }
    other.close()
    expect([mapsOf(file), descriptorsOf(file)]).toEqual([0, 0])
    await failure(() => adoptFileMapping(other.share()), 'MAPPING_CLOSED')
  })

  test('buffer() says RANGE_OUT_OF_BOUNDS for every range that is not whole, in order and inside', async () => {
    using mapping = mapFile(path)
    const { NaN: nan, POSITIVE_INFINITY: infinity, MAX_SAFE_INTEGER: most } = Number
    const ranges = [
      ...[
        [nan, 1],
        [0, nan],
        [nan, nan],
        [-1, 1],
        [-1, -1],
        [0, -1],
        [0.5, 1],
        [0, 1.5],
        [0.5, 0.5],
        [2, 1],
      ],
      ...[
        [0, byteLength + 1],
        [byteLength, byteLength + 1],
        [byteLength + 1, byteLength + 1],
        [most, most],
      ],
      ...[
        [0, infinity],
        [-infinity, 0],
        [2 ** 32, 2 ** 32 + 1],
        [0, 2 ** 53],
        [2 ** 64, 2 ** 64],
      ],
      ...(['0', '1'] as unknown as number[][]).map((begin) => [begin, 1] as unknown as number[]),
    ]
    for (const [begin, end] of ranges) {
      const error = await failure(() => mapping.buffer(begin!, end!), 'RANGE_OUT_OF_BOUNDS')
      expect(error).toMatchObject({ path, actualBytes: byteLength })
      expect(error.message).toContain(`${byteLength} bytes`)
    }
  })

  test('buffers survive close() of their mapping, and the removal and replacement of the file', () => {
    const file = writePattern(folder, 'removed', 2 * PAGE, 5)
    const mapping = mapFile(file)
    const buffer = mapping.buffer(7, PAGE + 7)
    unlinkSync(file)
    writePattern(folder, 'removed', 2 * PAGE, 6)
    mapping.close()
    expect(Buffer.from(buffer).equals(patternBytes(2 * PAGE, 5).subarray(7, PAGE + 7))).toBe(true)
    expect(mapsOf(file)).toBe(1)
  })

  test('adoptFileMapping() says MAPPING_CLOSED for numbers that no mapping has', async () => {
    for (const id of [0, -1, 2 ** 32 - 1, Number.NaN]) {
      const error = await failure(() => adoptFileMapping({ backing: 'file', id, path }), 'MAPPING_CLOSED')
      expect(error.path).toBe(path)
    }
  })

  test('adoptFileMapping() gives a further handle that outlives the first', () => {
    const file = writePattern(folder, 'adopted', byteLength)
    const first = mapFile(file)
    const second = adoptFileMapping(structuredClone(first.share()))
    first.close()
    expect(second.id).toBe(first.id)
    expect(mapsOf(file)).toBe(1)
    second.close()
    expect(mapsOf(file)).toBe(0)
  })

  test('describe() says RANGE_OUT_OF_BOUNDS for a table that reaches beyond its buffer', async () => {
    using mapping = mapFile(path)
    mapping.describe(partTable())
    for (const wrong of [
      { recordsOffset: 1 },
      { recordsOffset: -1 },
      { count: 5 },
      { count: 2 ** 53 },
      { count: Number.NaN },
      { stride: 16 },
      { stride: 2 ** 62 },
      { beginField: 17 },
      { lengthField: 24 },
      { nameOffsetField: 21 },
      { nameLengthField: 1e9 },
      { namesOffset: 97 },
      { buffer: new ArrayBuffer(96) as unknown as SharedArrayBuffer },
    ]) {
      expect((await failure(() => mapping.describe({ ...partTable(), ...wrong }), 'RANGE_OUT_OF_BOUNDS')).path).toBe(
        path,
      )
    }
  })
})

/** Four records of 24 bytes that fill their buffer. */
function partTable(): PartTable {
  return {
    ...{ buffer: new SharedArrayBuffer(96), recordsOffset: 0, stride: 24, count: 4, namesOffset: 96 },
    ...{ beginField: 0, lengthField: 8, nameOffsetField: 16, nameLengthField: 20 },
  }
}
