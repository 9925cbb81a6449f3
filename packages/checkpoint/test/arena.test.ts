import { DTYPE_NAMES, dtypeBits, parseSafetensors, type SelectedTensor } from '@onecopy/safetensors'
import { type FileMapping, mapDescriptor, openRegularFile, sealBytes } from '@onecopy/sharedarraybuffer-utils'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import { tries } from '../../../test/many-inputs.ts'
import { type Arena, gatherArena, gatherHeapArena, holdsPart, readArena } from '../src/arena.ts'
import { Directory } from '../src/directory.ts'
import { openCheckpoint } from '../src/index.ts'
import { type GatheredPart, selectParts } from '../src/select-parts.ts'
import { picked, pickedShape } from './selections.ts'
import { bytesOf, fileOf, mappingsIn, refusal, temporaryFolder, tensor, write } from './support.ts'

const RAWS = DTYPE_NAMES.map((dtype) => tensor(dtype, dtype, [6, 8]))

interface Prepared {
  readonly path: string
  readonly folder: string
  partsOf(tensors: readonly SelectedTensor[]): readonly GatheredPart[]
  gather(parts: readonly GatheredPart[]): Promise<Arena>
}

async function prepare(): Promise<Prepared> {
  const folder = temporaryFolder()
  const path = write(folder, 'x.safetensors', fileOf(RAWS, { padding: 1 }))
  const checkpoint = await openCheckpoint(path)
  const directory = new Directory(checkpoint.directory)
  const { byteLength } = checkpoint.shards[0]!
  checkpoint.close()
  const descriptor = openRegularFile(path)
  onTestFinished(() => descriptor.close())
  return {
    path,
    folder,
    partsOf: (tensors) => selectParts(directory, { tensors }, 'x').gathered,
    gather: (parts) => gatherArena(path, parts, () => ({ descriptor, path, byteLength, dropBehind: true }), {}),
  }
}

const EVERY: readonly SelectedTensor[] = RAWS.map(({ name }, at) => ({
  name,
  ranges:
    at % 2 === 0
      ? [
          [0, 6],
          [0, 4],
        ]
      : [
          [
            [0, 1],
            [4, 6],
          ],
          [4, 8],
        ],
}))

function bytesOfArena({ memory }: Arena): Uint8Array {
  return bytesOf((memory as FileMapping).buffer(0, memory.byteLength))
}

function rawOf(name: string) {
  return RAWS.find((raw) => raw.name === name)!
}

describe('gatherArena()', () => {
  test('makes a safetensors file of the parts, each aligned to its elements', async () => {
    const { partsOf, gather } = await prepare()
    const parts = partsOf(EVERY)
    const arena = await gather(parts)
    const file = bytesOfArena(arena)
    const { tensors } = parseSafetensors(file)
    expect([...tensors.keys()].toSorted()).toEqual(parts.map(({ key }) => key).toSorted())
    for (const part of parts) {
      const { ranges } = EVERY.find(({ name }) => name === part.name)!
      const { dtype, shape, dataOffsets } = tensors.get(part.key)!
      expect([dtype, shape]).toEqual([part.dtype, pickedShape(rawOf(part.name), ranges)])
      const [begin, end] = dataOffsets.map((offset) => arena.dataOffset + offset) as [number, number]
      expect(file.slice(begin, end)).toEqual(picked(rawOf(part.name), ranges))
      if (dtypeBits(dtype) >= 8) expect(begin % (dtypeBits(dtype) / 8)).toBe(0)
      expect(holdsPart(arena, part)).toBe(true)
    }
    expect(arena.header.tensors).toEqual(tensors)
    arena.memory.close()
  })

  test('reads parts of the same tensor in one pass, also where they overlap', async () => {
    const { partsOf, gather } = await prepare()
    const selections = [
      [1, 3],
      [2, 7],
      [0, 1],
      [2, 3],
    ].map(([start, stop]) => [
      {
        name: 'F64',
        ranges: [
          [0, 6],
          [start!, stop!],
        ] as const,
      },
    ])
    const parts = selections.flatMap(partsOf)
    const arena = await gather(parts)
    const file = bytesOfArena(arena)
    for (const [at, { key }] of parts.entries()) {
      const [begin, end] = arena.header.tensors.get(key)!.dataOffsets
      const bytes = file.slice(arena.dataOffset + begin, arena.dataOffset + end)
      expect(bytes).toEqual(picked(rawOf('F64'), selections[at]![0]!.ranges))
    }
    arena.memory.close()
  })
})

test('gatherHeapArena() has the same layout, and asks for each part once', async () => {
  const { partsOf, gather } = await prepare()
  const parts = partsOf(EVERY)
  const asked: string[] = []
  const heap = gatherHeapArena('x', parts, ({ name }, target) => {
    asked.push(name)
    target.set(picked(rawOf(name), EVERY.find((selected) => selected.name === name)!.ranges))
  })
  const sealed = await gather(parts)
  expect(asked).toEqual(parts.map(({ name }) => name))
  expect(heap.header).toEqual(sealed.header)
  expect(heap.byteLength).toBe(sealed.byteLength)
  for (const { dataOffsets } of heap.header.tensors.values()) {
    const [begin, end] = dataOffsets.map((offset) => heap.dataOffset + offset) as [number, number]
    expect(bytesOf(heap.memory.buffer(begin, end))).toEqual(bytesOf(sealed.memory.buffer(begin, end)))
  }
  sealed.memory.close()
})

describe('readArena()', () => {
  test('finds in memory from elsewhere what was gathered into it, and keeps nothing of it', async () => {
    const { partsOf, gather, folder } = await prepare()
    const arena = await gather(partsOf(EVERY))
    const { descriptor, path } = arena.memory as FileMapping
    const mapping = mapDescriptor(descriptor, path)
    const { header, byteLength, dataOffset } = readArena(mapping)
    expect({ header, byteLength, dataOffset }).toEqual({
      header: arena.header,
      byteLength: arena.byteLength,
      dataOffset: arena.dataOffset,
    })
    mapping.close()
    arena.memory.close()
    expect(mappingsIn(folder)).toEqual([]) // at once, not after a garbage collection
  })

  test('refuses memory that is none', async () => {
    const attempt = async (bytes: Uint8Array): Promise<string> => {
      using mapping = sealBytes(bytes, 'hostile')
      return (await refusal(() => readArena(mapping))).name
    }
    const long = new Uint8Array(100)
    new DataView(long.buffer).setBigUint64(0, 2n ** 62n, true)
    for (const bytes of [
      new Uint8Array(),
      new Uint8Array(7),
      new Uint8Array(8),
      new Uint8Array(5000).fill(0xff),
      long,
    ]) {
      expect(await attempt(bytes)).toBe('SafetensorsError')
    }
  })

  test('of damaged memory gives an error of the format, or an arena whose parts lie inside it', async () => {
    const { partsOf, gather } = await prepare()
    const arena = await gather(partsOf(EVERY))
    const good = bytesOfArena(arena)
    const change = fc.record({ at: fc.nat(arena.dataOffset - 1), byte: fc.nat(255) })
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 4 }), fc.option(fc.nat(good.byteLength)), async (changes, cut) => {
        const bytes = good.slice(0, cut ?? undefined)
        for (const { at, byte } of changes) if (at < bytes.byteLength) bytes[at] = byte
        using mapping = sealBytes(bytes, 'damaged')
        try {
          const { header, dataOffset } = readArena(mapping)
          for (const { dataOffsets } of header.tensors.values())
            expect(dataOffset + dataOffsets[1]).toBeLessThanOrEqual(bytes.byteLength)
        } catch (error) {
          expect((error as Error).name).toBe('SafetensorsError')
        }
      }),
      tries(100),
    )
    arena.memory.close()
  })
})

test('holdsPart() is false for a part of another dtype or shape under the same key', async () => {
  const { partsOf, gather } = await prepare()
  const [part] = partsOf([
    {
      name: 'F32',
      ranges: [
        [0, 6],
        [0, 4],
      ],
    },
  ])
  const arena = await gather([part!])
  expect(holdsPart(arena, part!)).toBe(true)
  expect(holdsPart(arena, { ...part!, dtype: 'I32' })).toBe(false)
  expect(holdsPart(arena, { ...part!, key: '["F32"]' })).toBe(false)
  expect(holdsPart(arena, { ...part!, slice: { ...part!.slice, shape: [4, 6] } })).toBe(false)
  expect(holdsPart(arena, { ...part!, slice: { ...part!.slice, shape: [24] } })).toBe(false)
  arena.memory.close()
})
