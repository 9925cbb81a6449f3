import { fstatSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeFrame, FrameReader, HELLO_LIMITS } from '../src/frame.ts'
import { MAX_DESCRIPTORS_A_FRAME, MAX_FRAME_BYTES, ProtocolError } from '../src/index.ts'
import { closeAll, frameOf, openDescriptorCount, openDescriptors } from './support.ts'

const invalid = expect.objectContaining({ name: 'ProtocolError', code: 'FRAME_INVALID' })
const tooLarge = expect.objectContaining({ name: 'ProtocolError', code: 'FRAME_TOO_LARGE' })

function header(byteLength: number, descriptors: number, reserved = 0): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeUInt32LE(byteLength, 0)
  bytes.writeUInt16LE(descriptors, 4)
  bytes.writeUInt16LE(reserved, 6)
  return bytes
}

/** All frames that come out after this, as the hex of their bodies; their descriptors are closed. */
function drain(reader: FrameReader): string[] {
  const bodies: string[] = []
  for (let frame = reader.next(); frame !== null; frame = reader.next()) {
    bodies.push(Buffer.from(frame.body).toString('hex'))
    closeAll(frame.descriptors)
  }
  return bodies
}

describe('encodeFrame', () => {
  it('writes length, descriptors and zero, little-endian, before the body', () => {
    expect(encodeFrame(Buffer.of(0xaa, 0xbb), 0x0102).toString('hex')).toBe('0200000002010000aabb')
  })

  it('refuses what no reader takes', () => {
    expect(() => encodeFrame(Buffer.alloc(MAX_FRAME_BYTES + 1), 0)).toThrow(tooLarge)
    expect(() => encodeFrame(Buffer.alloc(1), MAX_DESCRIPTORS_A_FRAME + 1)).toThrow(tooLarge)
  })
})

describe('FrameReader', () => {
  it('finds frames wherever the stream is cut', () => {
    const bodies = [Buffer.from('first'), Buffer.alloc(0), Buffer.alloc(3000, 7), Buffer.from('last')]
    const stream = Buffer.concat(bodies.map((body) => encodeFrame(body, 0)))
    const cuts = fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1 })
    fc.assert(
      fc.property(cuts, (sizes) => {
        const reader = new FrameReader()
        const found: string[] = []
        for (let at = 0, turn = 0; at < stream.length; turn++) {
          const end = at + sizes[turn % sizes.length]!
          reader.push(Buffer.from(stream.subarray(at, end)))
          found.push(...drain(reader))
          at = end
        }
        expect(found).toEqual(bodies.map((body) => body.toString('hex')))
        expect(reader.pendingBytes).toBe(0)
      }),
    )
  })

  it('gives out bodies that later bytes do not overwrite', () => {
    const stream = Buffer.concat([encodeFrame(Buffer.alloc(2000, 1), 0), encodeFrame(Buffer.alloc(2000, 2), 0)])
    const reader = new FrameReader()
    const bodies: Uint8Array[] = []
    for (let at = 0; at < stream.length; at += 100) {
      reader.push(Buffer.from(stream.subarray(at, at + 100)))
      for (let frame = reader.next(); frame !== null; frame = reader.next()) bodies.push(frame.body)
    }
    expect(bodies.map((body) => new Set(body))).toEqual([new Set([1]), new Set([2])])
  })

  it('gives each frame its descriptors, in order, also when they come before its header', () => {
    const before = openDescriptorCount()
    const descriptors = openDescriptors(5)
    const stream = Buffer.concat([
      header(2, 3),
      Buffer.from('ab'),
      header(1, 0),
      Buffer.from('c'),
      header(1, 2),
      Buffer.from('d'),
    ])
    const reader = new FrameReader()
    reader.push(stream.subarray(0, 1), descriptors.slice(0, 2))
    expect(reader.next()).toBeNull()
    reader.push(stream.subarray(1, 9), descriptors.slice(2, 3))
    expect(reader.next()).toBeNull()
    reader.push(stream.subarray(9, 22), descriptors.slice(3, 4))
    expect(reader.next()?.descriptors).toEqual(descriptors.slice(0, 3))
    expect(reader.next()?.descriptors).toEqual([])
    expect(reader.next()).toBeNull()
    reader.push(stream.subarray(22), descriptors.slice(4))
    expect(reader.next()?.descriptors).toEqual(descriptors.slice(3))
    expect(reader.next()).toBeNull()
    closeAll(descriptors)
    expect(openDescriptorCount()).toBe(before)
  })

  it.each([
    ['that no frame asks for', [header(1, 0), Buffer.from('a')], 1],
    ['beyond those of an unfinished frame', [header(9, 1), Buffer.from('a')], 2],
    ['fewer than its header says', [header(1, 2), Buffer.from('a')], 1],
  ])('refuses and closes descriptors %s', (_, bytes, count) => {
    const before = openDescriptorCount()
    const reader = new FrameReader()
    reader.push(Buffer.concat(bytes), openDescriptors(count))
    expect(() => drain(reader)).toThrow(invalid)
    expect(openDescriptorCount()).toBe(before)
    reader.push(Buffer.of(1), openDescriptors(1))
    expect(openDescriptorCount()).toBe(before)
  })

  it('closes descriptors that wait for their frame when it is disposed', () => {
    const before = openDescriptorCount()
    const reader = new FrameReader()
    reader.push(header(9, 3), openDescriptors(3))
    expect(reader.next()).toBeNull()
    reader.dispose()
    reader.dispose()
    expect(openDescriptorCount()).toBe(before)
  })

  it('refuses a header beyond the limits, before the body comes', () => {
    const refused = (bytes: Buffer): void => {
      const reader = new FrameReader()
      reader.push(bytes)
      expect(() => reader.next()).toThrow(tooLarge)
    }
    refused(header(MAX_FRAME_BYTES + 1, 0))
    refused(header(0xff_ff_ff_ff, 0))
    refused(header(1, MAX_DESCRIPTORS_A_FRAME + 1))
    const reader = new FrameReader()
    reader.push(header(0, 0, 1))
    expect(() => reader.next()).toThrow(invalid)
  })

  it('takes 4 KiB and no descriptor before a hello, and more after', () => {
    const before = openDescriptorCount()
    const large = new FrameReader(HELLO_LIMITS)
    large.push(header(4097, 0))
    expect(() => large.next()).toThrow(tooLarge)
    const claims = new FrameReader(HELLO_LIMITS)
    claims.push(header(10, 1))
    expect(() => claims.next()).toThrow(tooLarge)
    const early = new FrameReader(HELLO_LIMITS)
    early.push(Buffer.of(10), openDescriptors(1))
    expect(() => early.next()).toThrow(invalid)
    expect(openDescriptorCount()).toBe(before)

    const reader = new FrameReader(HELLO_LIMITS)
    reader.push(header(4096, 0))
    expect(reader.next()).toBeNull()
  })

  it('needs memory for what has come, not for what was claimed', () => {
    const before = process.memoryUsage().arrayBuffers
    const readers = Array.from({ length: 1000 }, () => {
      const reader = new FrameReader()
      reader.push(header(MAX_FRAME_BYTES, MAX_DESCRIPTORS_A_FRAME))
      expect(reader.next()).toBeNull()
      reader.push(Buffer.of(1))
      expect(reader.next()).toBeNull()
      return reader
    })
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * 1024 * 1024)
    expect(readers.map((reader) => reader.pendingBytes)).toEqual(readers.map(() => 9))
  })

  it('is linear in the number of pieces', () => {
    const feed = (byteLength: number): number => {
      const reader = new FrameReader()
      const begin = process.cpuUsage()
      reader.push(header(byteLength, 0))
      for (let i = 0; i < byteLength - 1; i++) {
        reader.push(Buffer.of(1))
        if (reader.next() !== null) throw new RangeError('too early')
      }
      reader.push(Buffer.of(1))
      expect(reader.next()?.body).toHaveLength(byteLength)
      return process.cpuUsage(begin).user
    }
    feed(100_000)
    const short = feed(200_000)
    // Eight times the bytes; quadratic would be 64 times the time.
    expect(feed(1_600_000)).toBeLessThan(24 * short)
  })

  it('gives frames or a ProtocolError for whatever bytes, and loses no descriptor', () => {
    const before = openDescriptorCount()
    const valid = fc
      .tuple(fc.uint8Array({ maxLength: 50 }), fc.nat(3))
      .map(([body, descriptors]) => ({ bytes: new Uint8Array(encodeFrame(body, descriptors)), descriptors }))
    const mutated = fc
      .tuple(valid, fc.nat(60), fc.nat(255))
      .map(([{ bytes, descriptors }, at, byte]) => ({ bytes: bytes.with(at % bytes.length, byte), descriptors }))
    const half = fc
      .tuple(valid, fc.nat(60))
      .map(([{ bytes, descriptors }, end]) => ({ bytes: bytes.slice(0, end), descriptors }))
    const random = fc.record({ bytes: fc.uint8Array({ maxLength: 40 }), descriptors: fc.nat(3) })
    const pieces = fc.array(fc.oneof({ arbitrary: valid, weight: 4 }, mutated, half, random), { maxLength: 8 })
    fc.assert(
      fc.property(pieces, (chunks) => {
        const reader = new FrameReader()
        try {
          for (const { bytes, descriptors } of chunks) {
            reader.push(bytes, openDescriptors(descriptors))
            drain(reader)
          }
          reader.dispose()
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError)
          expect((error as ProtocolError).code).toMatch(/^FRAME_/)
        }
        expect(openDescriptorCount()).toBe(before)
      }),
      { numRuns: 1500 },
    )
  })

  it('passes descriptors through untouched', () => {
    const descriptors = openDescriptors(1)
    const reader = new FrameReader()
    reader.push(frameOf({ type: 'x' }, 1), descriptors)
    expect(fstatSync(reader.next()!.descriptors[0]!.number).isCharacterDevice()).toBe(true)
    closeAll(descriptors)
  })
})
