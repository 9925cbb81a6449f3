import { type Selection, tensorIndex } from '@onecopy/safetensors'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import { tries } from '../../../test/many-inputs.ts'
import { type Backing, Checkpoint, openCheckpoint, type Progress } from '../src/index.ts'
import { type Case, cases, picked, pickedShape } from './selections.ts'
import {
  adoptingWorker,
  bytesOf,
  expectNothingLeft,
  fileOf,
  headerJson,
  mappingsIn,
  type RawTensor,
  refusal,
  sha256,
  temporaryFolder,
  tensor,
  write,
  writeSharded,
} from './support.ts'

const BACKINGS: readonly Backing[] = ['file', 'sealed', 'heap']

/** Two shards; the data of the first begins at an odd byte. */
const FIRST = [tensor('one', 'U8', [1]), tensor('odd', 'BF16', [8, 6]), tensor('wide', 'F32', [6, 10])]
const SECOND = [tensor('bias', 'F16', [12]), tensor('cube', 'I32', [4, 3, 8]), tensor('scalar', 'F64', [])]
const ALL = [...FIRST, ...SECOND]

async function open(backing: Backing = 'file'): Promise<{ checkpoint: Checkpoint; folder: string }> {
  const folder = temporaryFolder()
  writeSharded(folder, [FIRST, SECOND])
  const checkpoint = await openCheckpoint(folder, { backing })
  onTestFinished(() => checkpoint.close())
  return { checkpoint, folder }
}

function closing(checkpoint: Checkpoint): Checkpoint {
  onTestFinished(() => checkpoint.close())
  return checkpoint
}

function expectPicked(checkpoint: Checkpoint, selection: Selection, raws: readonly RawTensor[] = ALL): void {
  for (const { name, ranges } of selection.tensors) {
    const raw = raws.find((candidate) => candidate.name === name)!
    const view = checkpoint.tensor(name)
    expect(view).toMatchObject({ name, dtype: raw.dtype, shape: pickedShape(raw, ranges) })
    expect(bytesOf(view.buffer)).toEqual(picked(raw, ranges))
    expect(view.data.byteLength).toBe(view.byteLength)
  }
  expect(checkpoint.tensorCount).toBe(selection.tensors.length)
}

const SOME: Selection = {
  tensors: [
    {
      name: 'cube',
      ranges: [
        [0, 4],
        [1, 2],
        [
          [0, 1],
          [3, 8],
        ],
      ],
    },
    {
      name: 'wide',
      ranges: [
        [0, 6],
        [5, 10],
      ],
    },
    { name: 'bias', ranges: [[2, 5]] },
    {
      name: 'odd',
      ranges: [
        [
          [0, 2],
          [5, 6],
        ],
        [2, 4],
      ],
    },
    { name: 'scalar' },
  ],
}
const IN_PLACE: Selection = {
  tensors: [{ name: 'cube', ranges: [[1, 3]] }, { name: 'wide' }, { name: 'bias', ranges: [[2, 5]] }],
}

describe.each(BACKINGS)('a selection of backing %s', (backing) => {
  test('gives the bytes of any selection, by select() and by openCheckpoint()', async () => {
    const folder = temporaryFolder()
    let turn = 0
    await fc.assert(
      fc.asyncProperty(cases, fc.nat(5), async (list: readonly Case[], padding) => {
        const raws = list.map(({ raw }) => raw).toSorted((a, b) => (a.name < b.name ? -1 : 1))
        const middle = Math.floor(raws.length / 2)
        const paths = [raws.slice(0, middle), raws.slice(middle)].map((shard, at) =>
          write(folder, `${turn}-${at}.safetensors`, fileOf(shard, { padding })),
        )
        turn++
        const selection = { tensors: list.flatMap(({ selected }) => (selected === null ? [] : [selected])) }
        const whole = await openCheckpoint(paths, { backing })
        const parts = await whole.select(selection)
        const opened = await openCheckpoint(paths, { backing, selection })
        for (const checkpoint of [parts, opened]) {
          expectPicked(checkpoint, selection, raws)
          const wanted = new Set(selection.tensors.map(({ name }) => name))
          if (checkpoint.shards.every(({ name }) => !name.startsWith('arena'))) {
            expect(checkpoint.names).toEqual(whole.names.filter((name) => wanted.has(name)))
          }
          expect(checkpoint.byteLength).toBe(
            selection.tensors.reduce((sum, { name }) => sum + checkpoint.tensor(name).byteLength, 0),
          )
          if (backing === 'file') expect(checkpoint.residency().byteLength).toBe(checkpoint.byteLength)
          // A part where it lies may be of 16 bits at an odd byte, which V8 cannot read; what was gathered never is.
          for (const { copied, name } of checkpoint.tensors()) {
            const { shard, begin } = checkpoint.locate(name)
            if (copied) expect([shard.startsWith('arena'), begin % 2, backing === 'heap']).toEqual([false, 1, false])
          }
          checkpoint.close()
        }
        expect(whole.arenaBytes).toBe(0)
        whole.close()
      }),
      tries(60),
    )
    await expectNothingLeft(folder)
  })

  test('reports progress that rises to the selected bytes when it is opened', async () => {
    const { folder } = await open(backing)
    const seen: Progress[] = []
    const onProgress = (progress: Progress): unknown => seen.push(progress)
    const opened = closing(await openCheckpoint(folder, { backing, selection: SOME, onProgress, residency: 'lazy' }))
    expectPicked(opened, SOME)
    if (backing === 'file') return
    expect(seen.at(-1)).toEqual({ doneBytes: opened.byteLength, totalBytes: opened.byteLength })
    expect(seen.map(({ doneBytes }) => doneBytes)).toEqual(
      seen.map(({ doneBytes }) => doneBytes).toSorted((a, b) => a - b),
    )
    expect(new Set(seen.map(({ totalBytes }) => totalBytes)).size).toBe(1)
  })

  test('may be empty, or take nothing of a tensor', async () => {
    const { checkpoint, folder } = await open(backing)
    const nothing: Selection = { tensors: [] }
    const empty: Selection = {
      tensors: [
        { name: 'wide', ranges: [[3, 3]] },
        {
          name: 'cube',
          ranges: [
            [0, 4],
            [2, 2],
          ],
        },
      ],
    }
    for (const selection of [nothing, empty]) {
      for (const part of [await checkpoint.select(selection), await openCheckpoint(folder, { backing, selection })]) {
        expectPicked(part, selection)
        expect(part.byteLength).toBe(0)
        expect(await part.prefetch()).toEqual({ byteLength: 0, residentBytes: 0 })
        part.close()
      }
    }
    expect(checkpoint.arenaBytes).toBe(0)
  })

  test('of a selection is the part of the part', async () => {
    const { checkpoint } = await open(backing)
    const first = closing(await checkpoint.select(SOME))
    const again: Selection = {
      tensors: [
        {
          name: 'wide',
          ranges: [
            [1, 5],
            [1, 3],
          ],
        },
        { name: 'odd', ranges: [[1, 3]] },
        { name: 'bias', ranges: [[1, 3]] },
      ],
    }
    const second = closing(await first.select(again))
    first.close()
    checkpoint.close()
    const inner = SOME.tensors.map(({ name, ranges }) => {
      const raw = ALL.find((candidate) => candidate.name === name)!
      return { ...raw, shape: pickedShape(raw, ranges), bytes: picked(raw, ranges) }
    })
    expectPicked(second, again, inner)
    await expect(second.select({ tensors: [{ name: 'cube' }] })).rejects.toMatchObject({
      code: 'SAFETENSORS_INVALID_SELECTION',
    })
  })

  test('reads the same in another thread, in the same order', async () => {
    const { checkpoint } = await open(backing)
    const selection: Selection = { tensors: [...SOME.tensors].reverse() }
    const part = closing(await checkpoint.select(selection))
    const worker = adoptingWorker(part.share())
    const digest = (await worker.ask('digest')) as { name: string; sha256: string }[]
    for (const { name, ranges } of selection.tensors) {
      const raw = ALL.find((candidate) => candidate.name === name)!
      expect(digest.find((found) => found.name === name)?.sha256).toBe(sha256(picked(raw, ranges)))
    }
    expect(digest.map(({ name }) => name)).toEqual(part.names)
    part.close()
    checkpoint.close()
    expect(await worker.ask('elements', 'bias', 0)).toHaveLength(1)
    await worker.ask('close')
  })
})

test('Checkpoint.select() names in file order, arenas last, and prefetches in the order of the selection', async () => {
  const sizes: Record<string, number> = { a: 10_000, b: 20_000, c: 40_000, d: 80_000 }
  const folder = temporaryFolder()
  writeSharded(
    folder,
    Object.entries(sizes).map(([name, size]) => [tensor(name, 'U8', [size / 100, 100])]),
  )
  const checkpoint = closing(await openCheckpoint(folder))
  const whole = { tensors: ['c', 'a', 'd', 'b'].map((name) => ({ name })) }
  const part = closing(await checkpoint.select(whole))
  expect(part.names).toEqual(['a', 'b', 'c', 'd'])
  const mixed = closing(
    await checkpoint.select({
      tensors: [
        {
          name: 'b',
          ranges: [
            [0, 200],
            [0, 50],
          ],
        },
        { name: 'd' },
        { name: 'a' },
      ],
    }),
  )
  expect(mixed.names).toEqual(['a', 'd', 'b'])
  const orderOf = async (of: Checkpoint): Promise<number[]> => {
    const done: number[] = []
    await of.prefetch({ onProgress: ({ doneBytes }) => done.push(doneBytes) })
    return done.map((bytes, at) => bytes - (done[at - 1] ?? 0))
  }
  expect(await orderOf(part)).toEqual([40_000, 10_000, 80_000, 20_000])
  expect(await orderOf(mixed)).toEqual([10_000, 80_000, 10_000])
  const adopted = closing(Checkpoint.adopt(structuredClone(part.share())))
  expect(await orderOf(adopted)).toEqual([40_000, 10_000, 80_000, 20_000])
  expect(await adoptingWorker(part.share()).ask('prefetchSteps')).toEqual([40_000, 10_000, 80_000, 20_000])
})

test('Checkpoint.select() reads parts of the leading dimension where they lie, and copies no others', async () => {
  const { checkpoint, folder } = await open()
  const inPlace = closing(await checkpoint.select(IN_PLACE))
  const ids = (of: Checkpoint): unknown[] => of.share().shards.map((share) => ('id' in share ? share.id : null))
  expect(ids(inPlace)).toEqual(ids(checkpoint))
  expect([mappingsIn(folder).length, checkpoint.arenaBytes]).toEqual([2, 0])
  for (const view of inPlace.tensors()) {
    expect(view.copied).toBe(checkpoint.tensor(view.name).copied)
    const begin = { cube: 96, wide: 0, bias: 4 }[view.name]!
    expect(inPlace.locate(view.name)).toMatchObject({
      shard: checkpoint.locate(view.name).shard,
      begin: checkpoint.locate(view.name).begin + begin,
    })
  }
  const gathered = closing(
    await checkpoint.select({
      tensors: [
        {
          name: 'odd',
          ranges: [
            [0, 8],
            [1, 4],
          ],
        },
      ],
    }),
  )
  expect(gathered.tensor('odd').copied).toBe(false)
  expect(gathered.backing).toBe('sealed')
  expect(mappingsIn(folder)).toHaveLength(3)
  expect(checkpoint.arenaBytes).toBeGreaterThanOrEqual(48)
})

test('Checkpoint.select() on heap backing shares what is whole, and copies parts once for all threads', async () => {
  const { checkpoint } = await open('heap')
  const first = closing(await checkpoint.select(IN_PLACE))
  const second = closing(await checkpoint.select(IN_PLACE))
  expect(first.tensor('wide').buffer).toBe(checkpoint.tensor('wide').buffer)
  expect(first.tensor('cube').buffer).toBe(second.tensor('cube').buffer)
  expect([...first.tensors()].map(({ copied }) => copied)).toEqual([false, false, false])
  expect(checkpoint.arenaBytes).toBeGreaterThanOrEqual(192 + 6)
  first.close()
  second.close()
  expect(checkpoint.arenaBytes).toBe(0)
  const opened = closing(await openCheckpoint(checkpoint.label, { backing: 'heap', selection: IN_PLACE }))
  expectPicked(opened, IN_PLACE)
})

test('parts of 16 bits that were gathered are at an even byte, whatever theirs was in the file', async () => {
  const raws = [
    tensor('one', 'U8', [1]),
    ...(['BF16', 'F16', 'I16', 'U16'] as const).map((dtype) => tensor(dtype, dtype, [5, 7])),
  ]
  const path = write(temporaryFolder(), 'x.safetensors', fileOf(raws, { padding: headerJson(raws).length % 2 }))
  const selection = {
    tensors: raws.slice(1).map(({ name }) => ({
      name,
      ranges: [
        [0, 5],
        [1, 4],
      ] as const,
    })),
  }
  for (const backing of BACKINGS) {
    const checkpoint = closing(await openCheckpoint(path, { backing }))
    expect(checkpoint.locate('BF16').begin % 2).toBe(1)
    const part = closing(await checkpoint.select(selection))
    expectPicked(part, selection, raws)
    for (const { name, copied, data } of part.tensors()) {
      expect([
        copied,
        part.locate(name).begin % 2,
        (data as unknown as Uint16Array).includes(Number(data[14])),
      ]).toEqual([false, 0, true])
    }
  }
})

test('Checkpoint.layout identifies headers and file names, wherever the files are, and index has its one order', async () => {
  const { checkpoint } = await open()
  const { index, layout } = checkpoint
  expect(tensorIndex(index.shards, index.tensors)).toEqual(index)
  expect(
    tensorIndex([...index.shards].reverse(), index.tensors.map((t) => ({ ...t, shard: 1 - t.shard })).reverse()),
  ).toEqual(index)
  for (const { name, begin, end, shard } of index.tensors) {
    expect(checkpoint.locate(name)).toEqual({ shard: index.shards[shard]!.name, begin, end })
  }
  expect(layout).toMatch(/^[0-9a-f]{64}$/)
  const layoutOf = async (shards: readonly (readonly RawTensor[])[]): Promise<string> => {
    const folder = temporaryFolder()
    writeSharded(folder, shards)
    using other = await openCheckpoint(folder)
    return other.layout
  }
  const otherValues = SECOND.map((raw) => ({ ...raw, bytes: raw.bytes.map((byte) => byte ^ 1) }))
  expect(await layoutOf([FIRST, SECOND])).toBe(layout)
  expect(await layoutOf([FIRST, otherValues])).toBe(layout)
  expect(await layoutOf([FIRST, [...SECOND].reverse()])).not.toBe(layout)
  expect(await layoutOf([SECOND, FIRST])).not.toBe(layout)
  expect(await layoutOf([ALL])).not.toBe(layout)
  const part = closing(await checkpoint.select({ ...IN_PLACE, layout }))
  expectPicked(part, IN_PLACE)
  expect(part.layout).not.toBe(layout)
  const refused = await refusal(part.select({ tensors: [], layout }))
  expect(refused).toMatchObject({ name: 'CheckpointError', code: 'SELECTION_OTHER_CHECKPOINT' })
})
