import { closeSync, ftruncateSync, openSync, readdirSync, readlinkSync } from 'node:fs'
import type { Selection } from '@onecopy/safetensors'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Backing, type Checkpoint, openCheckpoint } from '../src/index.ts'
import { picked } from './selections.ts'
import {
  bytesOf,
  descriptorsIn,
  expectNothingLeft,
  expectNothingOpen,
  fileOf,
  mappingsIn,
  type Refusal,
  refusal,
  temporaryFolder,
  tensor,
  write,
} from './support.ts'

const BACKINGS: readonly Backing[] = ['file', 'sealed', 'heap']
const MAPPED: readonly Backing[] = ['file', 'sealed']
const RAWS = [tensor('a', 'BF16', [64, 64]), tensor('b', 'F32', [32, 64]), tensor('c', 'U8', [40, 50])]

const part = (name: string, start = 1, stop = 7): Selection['tensors'][number] => ({
  name,
  ranges: [
    [0, 32],
    [start, stop],
  ],
})
const AB: Selection = { tensors: [part('a'), part('b')] }
const BC: Selection = { tensors: [part('b'), part('c')] }

async function open(backing: Backing = 'file'): Promise<{ checkpoint: Checkpoint; folder: string }> {
  const folder = temporaryFolder()
  const checkpoint = await openCheckpoint(write(folder, 'x.safetensors', fileOf(RAWS)), { backing })
  onTestFinished(() => checkpoint.close())
  return { checkpoint, folder }
}

function expectPart(checkpoint: Checkpoint, { tensors }: Selection): void {
  for (const { name, ranges } of tensors) {
    expect(bytesOf(checkpoint.tensor(name).buffer)).toEqual(picked(RAWS.find((raw) => raw.name === name)!, ranges))
  }
}

/** Descriptors and mappings of this process that are files of the folder, or memory that was made of them. */
function held(folder: string): { descriptors: number; mappings: number } {
  const links = readdirSync('/proc/self/fd').map((descriptor) => {
    try {
      return readlinkSync(`/proc/self/fd/${descriptor}`)
    } catch {
      return '' // the descriptor of this very listing
    }
  })
  return { descriptors: links.filter((link) => link.includes(folder)).length, mappings: mappingsIn(folder).length }
}

describe.each(BACKINGS)('selections of one checkpoint of backing %s', (backing) => {
  test('that are equal and made at the same time share one arena, which goes with the last', async () => {
    const { checkpoint, folder } = await open(backing)
    const before = mappingsIn(folder).length
    const parts = await Promise.all([
      checkpoint.select(AB),
      checkpoint.select(AB),
      checkpoint.select({ tensors: [...AB.tensors].reverse() }),
    ])
    const arenas = backing === 'heap' ? 0 : 1
    expect(mappingsIn(folder)).toHaveLength(before + arenas)
    const { arenaBytes } = checkpoint
    const bytes = 32 * 6 * 2 + 32 * 6 * 4
    expect(arenaBytes).toBeGreaterThanOrEqual(bytes)
    expect(arenaBytes).toBeLessThan(bytes + 300)
    for (const [at, one] of parts.entries()) {
      expect(checkpoint.arenaBytes).toBe(arenaBytes)
      one.close()
      one.close()
      if (at < 2) expect(mappingsIn(folder)).toHaveLength(before + arenas)
    }
    expect([checkpoint.arenaBytes, mappingsIn(folder).length]).toEqual([0, before])
    const again = await checkpoint.select(AB)
    expectPart(again, AB)
    again.close()
  })

  test('that overlap gather each part once', async () => {
    const { checkpoint } = await open(backing)
    const [first, second] = await Promise.all([checkpoint.select(AB), checkpoint.select(BC)])
    const both = checkpoint.arenaBytes
    expect(both).toBeLessThan(32 * 6 * (2 + 4 + 1) + 600)
    expectPart(first!, AB)
    expectPart(second!, BC)
    first!.close()
    expect(checkpoint.arenaBytes).toBe(both) // the second reads from both arenas
    expectPart(second!, BC)
    second!.close()
    expect(checkpoint.arenaBytes).toBe(0)
  })

  test('outlive it, and it outlives them', async () => {
    const { checkpoint, folder } = await open(backing)
    const [early, late] = [
      await checkpoint.select(AB),
      await checkpoint.select({ tensors: [{ name: 'c' }, part('a')] }),
    ]
    early.close()
    expect((await refusal(() => early.tensor('a'))).code).toBe('CHECKPOINT_CLOSED')
    expect(bytesOf(checkpoint.tensor('a').buffer)).toEqual(RAWS[0]!.bytes)
    checkpoint.close()
    expectPart(late, { tensors: [{ name: 'c' }, part('a')] })
    expect(await late.followLatest()).toBe(late)
    await late.prefetch()
    const inner = await late.select({ tensors: [{ name: 'a', ranges: [[3, 4]] }] })
    expect(bytesOf(inner.tensor('a').buffer)).toHaveLength(12)
    late.close()
    inner.close()
    await expectNothingLeft(folder)
  })

  test('made by openCheckpoint() follow nothing', async () => {
    const { checkpoint } = await open(backing)
    using opened = await openCheckpoint(checkpoint.label, { backing, selection: AB })
    expect([await opened.followLatest(), opened.version]).toEqual([opened, null])
  })

  test('that are refused leave nothing open', async () => {
    const { checkpoint, folder } = await open(backing)
    checkpoint.close()
    const path = checkpoint.label
    const before = held(folder)
    const refused: readonly (readonly [unknown, string])[] = [
      [{ tensors: [part('a'), { name: 'z' }] }, 'SAFETENSORS_INVALID_SELECTION'],
      [{ tensors: [part('a'), { name: 'a' }] }, 'SAFETENSORS_INVALID_SELECTION'],
      [{ tensors: [{ name: 'a', ranges: [[0, 65]] }] }, 'SAFETENSORS_INVALID_SLICE'],
      [{ tensors: [{ name: 'a', ranges: [[2, 1]] }] }, 'SAFETENSORS_INVALID_SLICE'],
      [
        {
          tensors: [
            {
              name: 'a',
              ranges: [
                [0, 1],
                [0, 1],
                [0, 1],
              ],
            },
          ],
        },
        'SAFETENSORS_INVALID_SLICE',
      ],
      [
        {
          tensors: [
            {
              name: 'a',
              ranges: [
                [
                  [0, 2],
                  [2, 3],
                ],
              ],
            },
          ],
        },
        'SAFETENSORS_INVALID_SELECTION',
      ],
      [{ tensors: 'a' }, 'SAFETENSORS_INVALID_SELECTION'],
      [{ tensors: [], layout: 'a' }, 'SAFETENSORS_INVALID_SELECTION'],
      [{ tensors: [], layout: 7 }, 'SAFETENSORS_INVALID_SELECTION'],
      [{ tensors: [part('a')], layout: '0'.repeat(64) }, 'SELECTION_OTHER_CHECKPOINT'],
      [{ tensors: [part('z')], layout: '0'.repeat(64) }, 'SELECTION_OTHER_CHECKPOINT'],
      [null, 'SAFETENSORS_INVALID_SELECTION'],
    ]
    for (const [selection, code] of refused) {
      const opening = openCheckpoint(path, { backing, selection: selection as Selection })
      expect((await refusal(opening)).code).toBe(code)
      using whole = await openCheckpoint(path, { backing })
      expect((await refusal(whole.select(selection as Selection))).code).toBe(code)
      expect(whole.arenaBytes).toBe(0)
    }
    expect(held(folder)).toEqual(before)
    expectNothingOpen(folder)
  })

  test('can be aborted, and leave nothing behind', async () => {
    const { checkpoint, folder } = await open(backing)
    const before = held(folder)
    const reason = new TypeError('enough')
    expect(await refusal(checkpoint.select(AB, { signal: AbortSignal.abort(reason) }))).toBe(reason)
    const controller = new AbortController()
    const waiting = [checkpoint.select(AB), checkpoint.select(BC, { signal: controller.signal })]
    controller.abort(reason)
    expect(await refusal(waiting[1]!)).toBe(reason)
    const first = await waiting[0]!
    first.close()
    expect([held(folder), checkpoint.arenaBytes]).toEqual([before, 0])
    const opening = openCheckpoint(checkpoint.label, { backing, selection: AB, signal: AbortSignal.abort(reason) })
    expect(await refusal(opening)).toBe(reason)
    checkpoint.close()
    const progress = new AbortController()
    const late = openCheckpoint(checkpoint.label, {
      backing,
      selection: { tensors: [{ name: 'c' }, part('a')] },
      residency: 'populate',
      onProgress: () => progress.abort(reason),
      signal: progress.signal,
    })
    expect(await refusal(late)).toBe(reason)
    expectNothingOpen(folder)
  })

  test('that begin while it is closed are refused, whatever they need', async () => {
    const { checkpoint, folder } = await open(backing)
    const refusals: Promise<Refusal>[] = []
    for (const selection of [AB, BC, { tensors: [{ name: 'a' }] }]) refusals.push(refusal(checkpoint.select(selection)))
    checkpoint.close()
    refusals.push(refusal(checkpoint.select(AB)), refusal(checkpoint.holdArenas(AB)))
    for (const { name, code } of await Promise.all(refusals)) {
      expect([name, code]).toEqual(['CheckpointError', 'CHECKPOINT_CLOSED'])
    }
    expect(checkpoint.arenaBytes).toBe(0)
    expectNothingOpen(folder)
  })

  test('that it is closed under, in the middle, are refused', async () => {
    const folder = temporaryFolder()
    const many = Array.from({ length: 12 }, (_, at) => tensor(`t${at}`, 'U8', [64, 512]))
    const whole = await openCheckpoint(write(folder, 'x.safetensors', fileOf(many)), { backing })
    const selection = {
      tensors: many.map(({ name }) => ({
        name,
        ranges: [
          [0, 64],
          [0, 500],
        ] as const,
      })),
    }
    const outcome = refusal(whole.select(selection, { onProgress: () => whole.close() }))
    expect((await outcome).code).toBe('CHECKPOINT_CLOSED')
    expectNothingOpen(folder)
  })
})

test.each(MAPPED)('a part keeps only its arena and its shards, with backing %s', async (backing) => {
  const { checkpoint, folder } = await open(backing)
  const arenaOnly = await checkpoint.select(AB)
  checkpoint.close()
  expect(descriptorsIn(folder)).toEqual([])
  expect(mappingsIn(folder)).toEqual([expect.stringContaining('memfd:onecopy:arena of')])
  arenaOnly.close()
  expect(held(folder)).toEqual({ descriptors: 0, mappings: 0 })
})

test('Checkpoint.select() says that the file was cut meanwhile, and leaves nothing', async () => {
  const { checkpoint, folder } = await open()
  const descriptor = openSync(checkpoint.label, 'r+')
  ftruncateSync(descriptor, 2000)
  closeSync(descriptor)
  const before = held(folder)
  expect(await refusal(checkpoint.select(AB))).toMatchObject({
    code: 'FILE_CHANGED',
    path: checkpoint.label,
    actualBytes: 2000,
  })
  expect([held(folder), checkpoint.arenaBytes]).toEqual([before, 0])
  checkpoint.close()
  expectNothingOpen(folder)
})

test('Checkpoint.select() asks for the memory that it takes, once, and gives up when it gets none', async () => {
  const { checkpoint } = await open()
  const told: unknown[] = []
  const reserve = (byteLength: number): (() => void) => {
    told.push(byteLength)
    return () => told.push(checkpoint.arenaBytes > 0)
  }
  const first = await checkpoint.select(AB, { reserve })
  const second = await checkpoint.select(AB, { reserve })
  const third = await checkpoint.select(BC, { reserve })
  expect(told).toEqual([32 * 6 * (2 + 4), true, 32 * 6, true])
  for (const one of [first, second, third]) one.close()
  const none = new RangeError('no room')
  const refused = checkpoint.select(AB, {
    reserve: () => {
      throw none
    },
  })
  expect(await refusal(refused)).toBe(none)
  expect(checkpoint.arenaBytes).toBe(0)
})

test('Checkpoint.selectAll() gathers for all in one pass, all or none', async () => {
  const { checkpoint, folder } = await open()
  const selections = Array.from({ length: 4 }, (_, rank) => ({
    tensors: [part('a', rank * 16, rank * 16 + 16), part('c')],
  }))
  const told: number[] = []
  const reserve = (byteLength: number): (() => void) => {
    told.push(byteLength)
    return () => {}
  }
  const parts = await checkpoint.selectAll(selections, { reserve })
  expect(told).toEqual([4 * 32 * 16 * 2 + 32 * 6])
  expect(mappingsIn(folder)).toHaveLength(2)
  for (const [rank, one] of parts.entries()) expectPart(one, selections[rank]!)
  for (const one of parts) one.close()
  expect(checkpoint.arenaBytes).toBe(0)
  const wrong = checkpoint.selectAll([...selections, { tensors: [{ name: 'z' }] }])
  expect((await refusal(wrong)).code).toBe('SAFETENSORS_INVALID_SELECTION')
  expect(checkpoint.arenaBytes).toBe(0)
  expect(await checkpoint.selectAll([])).toEqual([])
  checkpoint.close()
  await expectNothingLeft(folder)
})

test('parts of an attached checkpoint hear of new versions, however many they are, until they are closed', async () => {
  const { checkpoint } = await open()
  const warnings: Error[] = []
  const onWarning = (warning: Error): unknown => warnings.push(warning)
  process.on('warning', onWarning)
  onTestFinished(() => void process.off('warning', onWarning))
  let newest: Checkpoint | null = null
  let released = 0
  const origin = {
    version: 1,
    release: () => void released++,
    latest: async (current: Checkpoint) => newest ?? current,
  }
  const base = checkpoint.selectWith({ tensors: RAWS.map(({ name }) => ({ name })) }, [], origin)
  const parts = await Promise.all(Array.from({ length: 15 }, () => base.select(AB)))
  const heard: number[] = []
  for (const one of parts) one.on('version', ({ version }) => heard.push(version))
  for (const one of parts.slice(1)) one.close()
  base.emit('version', { checkpoint: 'x', version: 2 })
  expect([heard, base.listenerCount('version'), parts[0]!.version]).toEqual([[2], 1, 1])
  expect(await parts[0]!.followLatest()).toBe(parts[0])
  base.close()
  expect(await parts[0]!.followLatest()).toBe(parts[0])
  newest = await openCheckpoint(checkpoint.label)
  const latest = await parts[0]!.followLatest()
  expect(latest).not.toBe(parts[0])
  expect(newest.closed).toBe(true)
  parts[0]!.close()
  expectPart(latest, AB)
  latest.close()
  await new Promise(setImmediate)
  expect([released, warnings]).toEqual([1, []])
})
