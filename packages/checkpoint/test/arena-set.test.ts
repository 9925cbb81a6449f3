import type { Selection } from '@onecopy/safetensors'
import { FileMapping, mapDescriptor, sealBytes } from '@onecopy/sharedarraybuffer-utils'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type ArenaHold, type Checkpoint, type CheckpointOrigin, openCheckpoint } from '../src/index.ts'
import { picked } from './selections.ts'
import { bytesOf, expectNothingLeft, fileOf, mappingsIn, refusal, temporaryFolder, tensor, write } from './support.ts'

const RAWS = [tensor('a', 'BF16', [16, 16]), tensor('b', 'F32', [8, 16]), tensor('c', 'U8', [4, 50])]
const part = (name: string, stop = 7): Selection['tensors'][number] => ({
  name,
  ranges: [
    [0, 4],
    [1, stop],
  ],
})
const AB: Selection = { tensors: [part('a'), part('b')] }
const ABC: Selection = { tensors: [part('c'), part('b'), part('a')] }

async function open(): Promise<{ checkpoint: Checkpoint; folder: string }> {
  const folder = temporaryFolder()
  const checkpoint = await openCheckpoint(write(folder, 'x.safetensors', fileOf(RAWS)), { backing: 'sealed' })
  onTestFinished(() => checkpoint.close())
  return { checkpoint, folder }
}

/** A second checkpoint of the same files, as another process has it. */
async function elsewhere({ label }: Checkpoint): Promise<Checkpoint> {
  const other = await openCheckpoint(label, { backing: 'sealed' })
  onTestFinished(() => other.close())
  return other
}

/** The memory of arenas as another process receives it; closed by the caller. */
function received({ arenas }: ArenaHold): FileMapping[] {
  return arenas.map(({ memory }) => {
    if (memory instanceof FileMapping) return mapDescriptor(memory.descriptor, memory.path)
    throw new TypeError('an arena on the heap cannot be sent')
  })
}

function origin(onRelease: () => void = () => {}): CheckpointOrigin {
  return { version: 4, release: onRelease, latest: async (current) => current }
}

function expectPart(checkpoint: Checkpoint, { tensors }: Selection): void {
  for (const { name, ranges } of tensors) {
    expect(bytesOf(checkpoint.tensor(name).buffer)).toEqual(picked(RAWS.find((raw) => raw.name === name)!, ranges))
  }
}

describe('Checkpoint.holdArenas()', () => {
  test('gives arenas that selectWith() takes elsewhere, one or several', async () => {
    const { checkpoint, folder } = await open()
    const first = await checkpoint.holdArenas(AB)
    const second = await checkpoint.holdArenas(ABC)
    expect([first.arenas.length, second.arenas.length]).toEqual([1, 2])
    expect(checkpoint.arenaBytes).toBe(second.arenas.reduce((sum, { byteLength }) => sum + byteLength, 0))
    const other = await elsewhere(checkpoint)
    for (const [hold, selection] of [
      [first, AB],
      [second, ABC],
      [second, AB],
    ] as const) {
      const arenas = received(hold)
      let released = 0
      const selected = other.selectWith(
        selection,
        arenas,
        origin(() => void released++),
      )
      for (const mapping of arenas) mapping.close()
      expect([selected.version, other.arenaBytes]).toEqual([4, 0])
      expectPart(selected, selection)
      selected.close()
      selected.close()
      expect(released).toBe(1)
    }
    first.release()
    first.release()
    expect(checkpoint.arenaBytes).toBeGreaterThan(0)
    second.release()
    expect(checkpoint.arenaBytes).toBe(0)
    checkpoint.close()
    other.close()
    await expectNothingLeft(folder)
  })

  test('gives none to a selection that is read where it lies', async () => {
    const { checkpoint } = await open()
    const hold = await checkpoint.holdArenas({ tensors: [{ name: 'a' }, { name: 'b', ranges: [[2, 3]] }] })
    expect([hold.arenas, checkpoint.arenaBytes]).toEqual([[], 0])
    hold.release()
  })

  test('holds what select() reads, and the other way round', async () => {
    const { checkpoint, folder } = await open()
    const selected = await checkpoint.select(AB)
    const hold = await checkpoint.holdArenas(AB)
    const { arenaBytes } = checkpoint
    selected.close()
    expect(checkpoint.arenaBytes).toBe(arenaBytes)
    const again = await checkpoint.select(AB)
    hold.release()
    expect(checkpoint.arenaBytes).toBe(arenaBytes)
    expect(mappingsIn(folder)).toHaveLength(2)
    again.close()
    expect(checkpoint.arenaBytes).toBe(0)
    expect(mappingsIn(folder)).toHaveLength(1)
  })
})

describe('Checkpoint.selectWith()', () => {
  test('says PART_MISSING when no arena has a part, and leaves nothing open', async () => {
    const { checkpoint, folder } = await open()
    const hold = await checkpoint.holdArenas(AB)
    const arenas = received(hold)
    hold.release()
    const before = mappingsIn(folder).length
    const attempts: Selection[] = [
      ABC,
      { tensors: [part('a', 8), part('b')] },
      { tensors: [{ name: 'c' }, part('b', 6)] },
    ]
    for (const selection of attempts) {
      const missing = await refusal(() => checkpoint.selectWith(selection, arenas, origin()))
      expect(missing).toMatchObject({ name: 'CheckpointError', code: 'PART_MISSING' })
      expect(missing.tensor).toBe(selection === ABC ? 'c' : selection.tensors.find(({ ranges }) => ranges?.[1])!.name)
    }
    expect((await refusal(() => checkpoint.selectWith(AB, [], origin()))).code).toBe('PART_MISSING')
    expect(mappingsIn(folder)).toHaveLength(before)
    for (const mapping of arenas) mapping.close()
    expect(mappingsIn(folder)).toHaveLength(1)
    expect((await refusal(() => checkpoint.selectWith(AB, arenas, origin()))).code).toBe('MAPPING_CLOSED')
  })
})

describe('Checkpoint.adoptArenas()', () => {
  test('takes arenas that another gathered: nothing is gathered again', async () => {
    const { checkpoint, folder } = await open()
    const hold = await checkpoint.holdArenas(ABC)
    const other = await elsewhere(checkpoint)
    const adopted = other.adoptArenas(received(hold))
    hold.release()
    expect(other.arenaBytes).toBe(adopted.arenas[0]!.byteLength)
    const before = mappingsIn(folder).length
    const selected = await other.select(AB, { reserve: () => expect.fail('nothing is to be gathered') })
    expect(mappingsIn(folder)).toHaveLength(before)
    expectPart(selected, AB)
    adopted.release()
    expect(other.arenaBytes).toBeGreaterThan(0)
    selected.close()
    expect(other.arenaBytes).toBe(0)
  })

  test('counts the same memory once, whoever hands it in, and however often', async () => {
    const { checkpoint, folder } = await open()
    const hold = await checkpoint.holdArenas(AB)
    const other = await elsewhere(checkpoint)
    const [one, two, three, four] = [received(hold), received(hold), received(hold), received(hold)]
    hold.release()
    const first = other.adoptArenas([...one, ...two])
    const { arenaBytes } = other
    expect(arenaBytes).toBe(one[0]!.byteLength)
    const second = other.adoptArenas(three)
    first.release()
    expect(other.arenaBytes).toBe(arenaBytes)
    const third = other.adoptArenas(four)
    second.release()
    third.release()
    expect(other.arenaBytes).toBe(0)
    checkpoint.close()
    other.close()
    expect(mappingsIn(folder)).toEqual([])
  })

  test('refuses what is no arena, and leaves all of it to the caller', async () => {
    const { checkpoint } = await open()
    const hold = await checkpoint.holdArenas(AB)
    for (const bytes of [new Uint8Array(), new Uint8Array(4096).fill(255), new Uint8Array(8)]) {
      const mappings = [...received(hold), sealBytes(bytes, 'garbage')]
      const before = checkpoint.arenaBytes
      expect((await refusal(() => checkpoint.adoptArenas(mappings))).name).toBe('SafetensorsError')
      expect([checkpoint.arenaBytes, mappings.map(({ closed }) => closed)]).toEqual([before, [false, false]])
      for (const mapping of mappings) mapping.close()
    }
    hold.release()
    using none = sealBytes(fileOf([]), 'an arena of nothing')
    const adopted = checkpoint.adoptArenas([none])
    expectPart(await checkpoint.select(AB), AB)
    adopted.release()
    expect(none.closed).toBe(true)
    checkpoint.close()
    expect((await refusal(() => checkpoint.adoptArenas([]))).code).toBe('CHECKPOINT_CLOSED')
  })
})
