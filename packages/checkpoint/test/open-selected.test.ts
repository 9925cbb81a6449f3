import { fstatSync, utimesSync, writeFileSync } from 'node:fs'
import type { Selection } from '@onecopy/safetensors'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Checkpoint, openCheckpoint, type Progress } from '../src/index.ts'
import { picked } from './selections.ts'
import { bytesOf, expectNothingOpen, fileOf, refusal, temporaryFolder, tensor, write, writeSharded } from './support.ts'

const MEGABYTE = 2 ** 20
const PAGE = 4096
const SHARDS = [
  Array.from({ length: 6 }, (_, at) => tensor(`a${at}`, 'U8', [1024, 1024])),
  Array.from({ length: 6 }, (_, at) => tensor(`b${at}`, 'BF16', [512, 1024])),
  [tensor('unused', 'U8', [MEGABYTE])],
]
const RAWS = SHARDS.flat()

/** What the kernel has given for the memory of a checkpoint. */
function memoryBytes(checkpoint: Checkpoint): number {
  return checkpoint.descriptors().reduce((sum, descriptor) => sum + fstatSync(descriptor.number).blocks * 512, 0)
}

const SELECTIONS: Record<string, Selection> = {
  'whole tensors': { tensors: [{ name: 'b4' }, { name: 'a1' }, { name: 'a2' }] },
  'rows at odd bytes': { tensors: RAWS.slice(0, 12).map(({ name }) => ({ name, ranges: [[101, 301]] })) },
  columns: {
    tensors: RAWS.slice(0, 12).map(({ name }, at) => ({
      name,
      ranges: [
        [0, 512],
        [at, 256 + at],
      ],
    })),
  },
  'rows and columns': {
    tensors: [
      { name: 'a0', ranges: [[3, 500]] },
      {
        name: 'b0',
        ranges: [
          [
            [0, 3],
            [7, 9],
          ],
          [5, 1000],
        ],
      },
    ],
  },
}

describe.each(['sealed', 'heap'] as const)('openCheckpoint() with a selection, with backing %s', (backing) => {
  test.each(Object.keys(SELECTIONS))('takes %s, and little memory beside them', async (kind) => {
    const selection = SELECTIONS[kind]!
    const folder = temporaryFolder()
    writeSharded(folder, SHARDS)
    const seen: Progress[] = []
    const onProgress = (progress: Progress): unknown => seen.push(progress)
    const checkpoint = await openCheckpoint(folder, { backing, selection, onProgress })
    onTestFinished(() => checkpoint.close())
    expect(checkpoint.backing).toBe(backing)
    // Of ranges at any byte the first and the last page are shared with what is not selected; an arena has a header.
    const edges = (2 * selection.tensors.length + 2) * PAGE
    if (backing === 'sealed') {
      expect(memoryBytes(checkpoint)).toBeLessThanOrEqual(checkpoint.byteLength + edges)
      expect(memoryBytes(checkpoint)).toBeGreaterThanOrEqual(checkpoint.byteLength)
    }
    expect(checkpoint.shards.map(({ name }) => name).filter((name) => name.includes('00003-of'))).toEqual([])
    expect(seen.at(-1)).toEqual({ doneBytes: checkpoint.byteLength, totalBytes: checkpoint.byteLength })
    for (const { doneBytes, totalBytes } of seen) expect(doneBytes).toBeLessThanOrEqual(totalBytes)
    for (const { name, ranges } of selection.tensors) {
      const raw = RAWS.find((candidate) => candidate.name === name)!
      expect(
        Buffer.compare(
          bytesOf(checkpoint.tensor(name).buffer),
          fastPicked(raw.bytes, raw.shape, ranges, raw.dtype === 'BF16' ? 2 : 1),
        ),
      ).toBe(0)
    }
  })

  test('refuses files that are written to meanwhile, and leaves nothing open', async () => {
    for (const columns of [false, true]) {
      const folder = temporaryFolder()
      const raw = tensor('a', 'U8', [64, 64])
      const path = write(folder, 'x.safetensors', fileOf([raw, tensor('b', 'U8', [64])]))
      const onProgress = (): void => {
        writeFileSync(path, fileOf([raw, tensor('b', 'U8', [64])]))
        utimesSync(path, 1, 1)
      }
      const selection: Selection = {
        tensors: [
          columns
            ? {
                name: 'a',
                ranges: [
                  [0, 64],
                  [0, 3],
                ],
              }
            : { name: 'b' },
        ],
      }
      expect((await refusal(openCheckpoint(path, { backing, selection, onProgress }))).code).toBe('CHECKPOINT_CHANGED')
      expectNothingOpen(folder)
    }
  })
})

/** By rows: the slow oracle takes too long for megabytes. */
function fastPicked(
  bytes: Uint8Array,
  shape: readonly number[],
  ranges: NonNullable<Selection['tensors'][number]['ranges']> = [],
  width: number,
): Uint8Array {
  const positions = picked(
    {
      name: 'rows',
      dtype: 'U16',
      shape: [shape[0]!],
      bytes: new Uint8Array(Uint16Array.from({ length: shape[0]! }, (_, at) => at).buffer),
    },
    ranges.slice(0, 1),
  )
  const [start, stop] = (ranges[1] ?? [0, shape[1]]) as [number, number]
  const rowBytes = shape[1]! * width
  return Buffer.concat(
    Array.from(new Uint16Array(positions.buffer), (row) =>
      bytes.subarray(row * rowBytes + start * width, row * rowBytes + stop * width),
    ),
  )
}
