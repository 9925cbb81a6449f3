import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Checkpoint, openCheckpoint, type Selection } from '@onecopy/checkpoint'
import { attach } from '@onecopy/client'
import type { CoordinatorStatus } from '@onecopy/protocol'
import { mappingCount } from '@onecopy/sharedarraybuffer-utils'
import { beforeEach, describe, expect, it } from 'vitest'
import {
  collectUntil,
  descriptorCount,
  hashesOf,
  leasesOf,
  Program,
  quarter,
  refusal,
  saveMatrices,
  statusWhere,
  temporaryFolder,
  until,
} from './support.ts'

const RANKS = [0, 1, 2, 3]
const WIDTH = 64

/** Of each worker's arena: its columns of `o` and `down`, and its rows of `gate_up`. */
const GATHERED_BYTES = 4 * (2 * WIDTH * (WIDTH / 4) + (WIDTH / 2) * WIDTH)

/** What the header of an arena takes at most here. */
const MAX_HEAD_BYTES = 1024

let folder: string
let socket: string
let model: string
let coordinator: Program

beforeEach(async () => {
  folder = temporaryFolder()
  socket = join(folder, 's', 'socket')
  model = await saveMatrices(join(folder, 'model'))
  coordinator = await Program.start('coordinator.mjs', socket)
})

/** Bytes of all shards where they are sealed; files take no memory of the coordinator's. */
function wholeBytes(backing: string): number {
  const shards = readdirSync(model).filter((name) => name.endsWith('.safetensors'))
  return backing === 'file' ? 0 : shards.reduce((sum, name) => sum + statSync(join(model, name)).size, 0)
}

/** What a worker must read, by name. */
async function expected(rank: number, source = model): Promise<Record<string, string>> {
  using whole = await openCheckpoint(source)
  using part = await whole.select(quarter(rank))
  return hashesOf(part)
}

function arenaBytesOf({ checkpoints }: CoordinatorStatus): number {
  return checkpoints.flatMap(({ versions }) => versions).reduce((sum, { arenaBytes }) => sum + arenaBytes, 0)
}

async function startReader(rank: number): Promise<Program> {
  const reader = await Program.start('selector.mjs', socket, 'a')
  expect(await reader.ask('attach', quarter(rank))).toEqual(await expected(rank))
  return reader
}

async function arenasOf(readers: readonly Program[]): Promise<string[]> {
  return (await Promise.all(readers.map((reader) => reader.ask('arenas')))).flat() as string[]
}

const attachPart = (selection: Selection): Promise<Checkpoint> => attach({ socket, checkpoint: 'a', selection })

describe.each(['file', 'sealed'])('attach() with a selection, on %s backing', (backing) => {
  beforeEach(async () => {
    await coordinator.ask('publish', 'a', model, { backing })
  })

  it('gives what select() gives of the opened checkpoint', async () => {
    using whole = await openCheckpoint(model)
    for (const rank of RANKS) {
      using attached = await attachPart(quarter(rank))
      using selected = await whole.select(quarter(rank))
      expect(attached).toMatchObject({ label: whole.label, version: 1, byteLength: selected.byteLength })
      expect(attached.names).toEqual(selected.names)
      for (const { name, dtype, shape, data } of selected.tensors()) {
        expect(attached.tensor(name)).toMatchObject({ dtype, shape })
        expect(attached.tensor(name).data).toEqual(data)
      }
      expect(attached.has('embed')).toBe(true)
      expect(attached.shards.map(({ name }) => name).filter((name) => name.startsWith('arena'))).toEqual(['arena 1'])
    }
  })

  it('takes no arena for what lies in one run, and nothing at all for nothing', async () => {
    const rows: Selection = { tensors: [{ name: 'q', ranges: [[16, 32]] }, { name: 'norm' }] }
    using part = await attachPart(rows)
    using nothing = await attachPart({ tensors: [] })
    expect([part.names.toSorted(), nothing.names]).toEqual([['norm', 'q'], []])
    expect(arenaBytesOf(await statusWhere(coordinator, (status) => leasesOf(status).length === 2))).toBe(0)
  })

  it('makes each arena once for four workers and their replicas, counts it, and frees it with its last holder', async () => {
    const readers = await Promise.all(RANKS.map(startReader))
    const arenas = await arenasOf(readers)
    expect(new Set(arenas).size).toBe(4)
    const status = await statusWhere(coordinator, (found) => leasesOf(found).length === 4)
    const arenaBytes = arenaBytesOf(status)
    expect(arenaBytes).toBeGreaterThan(4 * GATHERED_BYTES)
    expect(arenaBytes).toBeLessThan(4 * (GATHERED_BYTES + MAX_HEAD_BYTES))
    expect(status.heldBytes).toBe(wholeBytes(backing) + arenaBytes)
    expect(status.checkpoints[0]!.versions).toMatchObject([{ heldBytes: status.heldBytes, arenaBytes }])

    const replicas = await Promise.all([0, 1].map(startReader))
    expect(await arenasOf(replicas)).toEqual(arenas.slice(0, 2))
    expect((await statusWhere(coordinator, (found) => leasesOf(found).length === 6)).heldBytes).toBe(status.heldBytes)

    // The first worker closes, the second is killed: their replicas hold the arenas on.
    await readers[0]!.ask('close')
    await readers[1]!.kill()
    const half = await statusWhere(coordinator, (found) => leasesOf(found).length === 4)
    expect(arenaBytesOf(half)).toBe(arenaBytes)
    for (const [rank, replica] of replicas.entries()) expect(await replica.ask('read')).toEqual(await expected(rank))
    await replicas[0]!.kill()
    await replicas[1]!.ask('close')
    const later = await statusWhere(coordinator, (found) => leasesOf(found).length === 2)
    expect(arenaBytesOf(later)).toBeGreaterThan(2 * GATHERED_BYTES)
    expect(arenaBytesOf(later)).toBeLessThan(2 * (GATHERED_BYTES + MAX_HEAD_BYTES))
    await readers[2]!.kill()
    await readers[3]!.kill()
    const end = await statusWhere(coordinator, (found) => leasesOf(found).length === 0)
    expect([arenaBytesOf(end), end.heldBytes]).toEqual([0, wholeBytes(backing)])
  })

  it('makes one arena for many who ask for it at the same time, in one process and in others', async () => {
    const others = await Promise.all([1, 2].map(() => Program.start('selector.mjs', socket, 'a')))
    const [first, second, ...own] = await Promise.all([
      ...others.map((other) => other.ask('attach', quarter(2))),
      ...RANKS.map(() => attachPart(quarter(2))),
    ])
    expect([first, second]).toEqual([await expected(2), await expected(2)])
    const checkpoints = own as Checkpoint[]
    for (const checkpoint of checkpoints) expect(hashesOf(checkpoint)).toEqual(first)
    const status = await statusWhere(coordinator, (found) => leasesOf(found).length === 6)
    expect(arenaBytesOf(status)).toBeLessThan(GATHERED_BYTES + MAX_HEAD_BYTES)
    const [arena, same] = await arenasOf(others)
    expect(same).toBe(arena)
    for (const checkpoint of checkpoints) checkpoint.close()
  })

  it('shares what two selections have in common, and gathers the rest', async () => {
    using one = await attachPart(quarter(0))
    const alone = arenaBytesOf(await statusWhere(coordinator, () => true))
    const { tensors } = quarter(0)
    const more: Selection = {
      tensors: [
        ...tensors.slice(0, 5),
        {
          name: 'down',
          ranges: [
            [0, WIDTH],
            [1, 2],
          ],
        },
      ],
    }
    using other = await attachPart(more)
    expect(other.tensor('o').data).toEqual(one.tensor('o').data)
    expect(other.tensor('down').shape).toEqual([WIDTH, 1])
    const both = arenaBytesOf(await statusWhere(coordinator, () => true))
    expect(both - alone).toBeGreaterThan(4 * WIDTH)
    expect(both - alone).toBeLessThan(4 * WIDTH + MAX_HEAD_BYTES)
  })

  it('is what select() of an attached checkpoint asks for, unless the coordinator is away', async () => {
    using whole = await attach({ socket, checkpoint: 'a' })
    using selected = await whole.select(quarter(2))
    const reader = await startReader(2)
    const arenas = await arenasOf([reader])
    const mapped = (): string[] => {
      const lines = readFileSync('/proc/self/maps', 'utf8').split('\n')
      return lines.filter((line) => line.includes('memfd:onecopy:arena')).map((line) => line.split(/ +/)[4]!)
    }
    expect(mapped()).toContain(arenas[0])
    expect(hashesOf(selected)).toEqual(await expected(2))
    expect(leasesOf(await statusWhere(coordinator, () => true))).toEqual(['a@1', 'a@1', 'a@1'])

    await expect(whole.select({ tensors: [{ name: 'nobody' }] })).rejects.toMatchObject({
      code: 'SAFETENSORS_INVALID_SELECTION',
    })
    const long = Object.defineProperty(quarter(2), 'toJSON', { value: () => 'x'.repeat(7 * 2 ** 20) })
    await expect(whole.select(long)).rejects.toThrow(/^The selection has \d+ bytes as JSON/)
    expect(leasesOf(await statusWhere(coordinator, () => true))).toHaveLength(3)

    // Whether it is known to be gone by now or not.
    process.kill(coordinator.pid, 'SIGKILL')
    for (const rank of [2, 3]) {
      using own = await whole.select(quarter(rank))
      expect(hashesOf(own)).toEqual(await expected(rank))
      await coordinator.ended
    }
    expect(hashesOf(selected)).toEqual(await expected(2))
  })

  it('leaves neither descriptor nor mapping behind, here and at the coordinator’s, when it is closed', async () => {
    ;(await attachPart(quarter(3))).close()
    const count = (): number[] => [descriptorCount(), mappingCount()]
    const theirs = (): string[] => readdirSync(`/proc/${coordinator.pid}/fd`)
    await statusWhere(coordinator, (status) => leasesOf(status).length === 0)
    const [before, theirsBefore] = [count(), theirs().length]
    for (let round = 0; round < 20; round++) {
      const checkpoint = await attachPart(quarter(round % 4))
      const { data } = checkpoint.tensor('down')
      checkpoint.close()
      expect(data.length).toBe((WIDTH * WIDTH) / 4)
    }
    await collectUntil(() => count().every((number, at) => number <= before[at]!))
    const status = await statusWhere(coordinator, (found) => leasesOf(found).length === 0)
    expect(arenaBytesOf(status)).toBe(0)
    await until(() => theirs().length <= theirsBefore)
  })

  it('a client that is killed while its arena is gathered leaves nothing, and whoever waits for the same gets it', async () => {
    // 32 MiB to gather.
    const large = 2048
    await coordinator.ask('publish', 'a', await saveMatrices(join(folder, 'large'), { width: large }), { backing })
    const held = (await statusWhere(coordinator, () => true)).heldBytes
    const descriptors = readdirSync(`/proc/${coordinator.pid}/fd`).length
    const doomed = await Program.start('selector.mjs', socket, 'a')
    doomed.ask('attach', quarter(0, large)).catch(() => {})
    await statusWhere(coordinator, ({ heldBytes }) => heldBytes > held)
    const waiting = attachPart(quarter(0, large))
    await doomed.kill()
    const checkpoint = await waiting
    expect(checkpoint.tensor('down').shape).toEqual([large, large / 4])
    using whole = await openCheckpoint(join(folder, 'large'))
    using selected = await whole.select(quarter(0, large))
    expect(hashesOf(checkpoint)).toEqual(hashesOf(selected))
    checkpoint.close()
    const end = await statusWhere(coordinator, (status) => leasesOf(status).length === 0)
    expect([end.heldBytes, arenaBytesOf(end)]).toEqual([held, 0])
    await until(() => readdirSync(`/proc/${coordinator.pid}/fd`).length <= descriptors + 1)
  })
})

describe.each(['file', 'sealed'])('a client with a selection whose coordinator dies, on %s backing', (backing) => {
  it('reads on, and hands its arenas back, which count once and are not gathered again', async () => {
    await coordinator.ask('publish', 'a', model, { backing })
    const readers = await Promise.all([0, 0, 0, 1, 2].map(startReader))
    const arenas = await arenasOf(readers)
    expect(new Set(arenas).size).toBe(3)
    const { heldBytes } = await statusWhere(coordinator, (status) => leasesOf(status).length === 5)
    for (let round = 0; round < 2; round++) {
      await coordinator.kill()
      for (const [at, reader] of readers.entries()) {
        expect(await reader.ask('read')).toEqual(await expected(Math.max(0, at - 2)))
      }
      coordinator = await Program.start('coordinator.mjs', socket)
      expect(await coordinator.ask('publish', 'a', model, { backing })).toBe(1)
      const status = await statusWhere(coordinator, (found) => leasesOf(found).length === 5)
      expect(status.heldBytes).toBe(heldBytes)
      expect(arenaBytesOf(status)).toBe(heldBytes - wholeBytes(backing))
      expect(status.checkpoints[0]!.versions).toMatchObject([{ version: 1, state: 'ready' }])
      expect(await arenasOf(readers)).toEqual(arenas)
    }

    const fresh = await startReader(1)
    // The very memory that was handed back.
    expect(await arenasOf([fresh])).toEqual([arenas[3]])
    expect((await statusWhere(coordinator, (found) => leasesOf(found).length === 6)).heldBytes).toBe(heldBytes)

    for (const reader of readers.slice(1)) await reader.kill()
    await readers[0]!.ask('close')
    const last = await statusWhere(coordinator, (found) => leasesOf(found).length === 1)
    expect(arenaBytesOf(last)).toBeLessThan(GATHERED_BYTES + MAX_HEAD_BYTES)
    await fresh.ask('close')
    const end = await statusWhere(coordinator, (found) => leasesOf(found).length === 0)
    expect([arenaBytesOf(end), end.heldBytes]).toEqual([0, wholeBytes(backing)])
  })

  it('keeps no more descriptors and mappings than before, however often it is restarted', async () => {
    await coordinator.ask('publish', 'a', model, { backing })
    const reader = await startReader(0)
    const before = (await reader.ask('count')) as Record<string, number>
    for (let round = 0; round < 3; round++) {
      await coordinator.kill()
      coordinator = await Program.start('coordinator.mjs', socket)
      await coordinator.ask('publish', 'a', model, { backing })
      await statusWhere(coordinator, (found) => leasesOf(found).length === 1)
    }
    await until(async () => {
      const now = (await reader.ask('count')) as Record<string, number>
      return now['descriptors']! <= before['descriptors']! && now['mappings']! <= before['mappings']!
    })
  })

  it('hands arenas back also when the next coordinator publishes only on demand', async () => {
    await coordinator.ask('publish', 'a', model, { backing })
    const reader = await startReader(3)
    const arenas = await arenasOf([reader])
    await coordinator.kill()
    coordinator = await Program.start('coordinator.mjs', socket)
    await coordinator.ask('publish', 'a', model, { backing, load: 'on-demand' })
    const status = await statusWhere(coordinator, (found) => leasesOf(found).length === 1 && arenaBytesOf(found) > 0)
    expect(status.checkpoints[0]!.versions).toMatchObject([{ state: 'ready', leases: 1 }])
    expect(await arenasOf([await startReader(3)])).toEqual(arenas)
  })
})

describe('followLatest() of a selection', () => {
  it('gives the same part of a new version, and of its own version itself', async () => {
    await coordinator.ask('publish', 'a', model, { backing: 'sealed' })
    const reader = await startReader(1)
    const own = await attachPart(quarter(1))
    const announced = new Promise((resolve) => own.once('version', resolve))
    expect(await reader.ask('follow')).toBe(false)
    expect(await own.followLatest()).toBe(own)
    expect(leasesOf(await statusWhere(coordinator, (status) => leasesOf(status).length === 2))).toHaveLength(2)

    const next = await saveMatrices(join(folder, 'next'), { fill: 2 })
    expect(await coordinator.ask('publish', 'a', next, { backing: 'sealed' })).toBe(2)
    expect(await announced).toEqual({ checkpoint: 'a', version: 2 })
    expect(await reader.ask('read')).toEqual(await expected(1))
    expect(await reader.ask('follow')).toBe(true)
    expect(await reader.ask('read')).toEqual(await expected(1, next))
    const latest = await own.followLatest()
    expect(latest.version).toBe(2)
    expect(hashesOf(latest)).toEqual(await expected(1, next))
    expect(hashesOf(own)).toEqual(await expected(1))
    own.close()
    const { checkpoints, heldBytes } = await statusWhere(
      coordinator,
      ({ checkpoints: [a] }) => a!.versions.length === 1,
    )
    expect(checkpoints[0]!.versions).toMatchObject([{ version: 2, leases: 2, heldBytes }])
    latest.close()
  })

  it('of a part that was made while the coordinator was away gives the part of a new version too', async () => {
    await coordinator.ask('publish', 'a', model)
    using whole = await attach({ socket, checkpoint: 'a' })
    await coordinator.kill()
    const controller = new AbortController()
    const own = await whole.select(quarter(1), { signal: controller.signal })
    controller.abort() // what was waited for is there
    expect(whole.arenaBytes).toBeGreaterThan(GATHERED_BYTES)
    coordinator = await Program.start('coordinator.mjs', socket)
    const next = await saveMatrices(join(folder, 'next'), { fill: 2 })
    await coordinator.ask('publish', 'a', next, { backing: 'sealed' })
    using latest = await own.followLatest()
    expect(hashesOf(latest)).toEqual(await expected(1, next))
    expect(hashesOf(own)).toEqual(await expected(1))
    own.close()
    expect(whole.arenaBytes).toBe(0)
    expect(arenaBytesOf(await statusWhere(coordinator, () => true))).toBeGreaterThan(GATHERED_BYTES)
  })

  it('is refused when the new version has another layout; the old one stays as it is', async () => {
    await coordinator.ask('publish', 'a', model)
    using whole = await attach({ socket, checkpoint: 'a' })
    const { layout } = whole
    using bound = await attachPart({ ...quarter(1), layout })
    using loose = await attachPart(quarter(1))
    const narrower = await saveMatrices(join(folder, 'narrower'), { width: 32 })
    await coordinator.ask('publish', 'a', narrower)
    const causes = ['SELECTION_OTHER_CHECKPOINT', 'SAFETENSORS_INVALID_SLICE']
    for (const [at, checkpoint] of [bound, loose].entries()) {
      const error = await refusal(checkpoint.followLatest())
      const cause = expect.objectContaining({ code: causes[at] })
      expect(error).toMatchObject({ name: 'CoordinatorError', code: 'SELECTION_REFUSED', causeCode: causes[at], cause })
      expect(hashesOf(checkpoint)).toEqual(await expected(1))
    }
    using newest = await whole.followLatest()
    expect(newest.version).toBe(2)
    const status = await statusWhere(coordinator, () => true)
    expect(leasesOf(status).sort()).toEqual(['a@1', 'a@1', 'a@1', 'a@2'])
  })
})

describe('attach() with a selection that cannot be', () => {
  beforeEach(async () => {
    await coordinator.ask('publish', 'a', model, { backing: 'sealed' })
  })

  it.each<[string, unknown, string]>([
    ['no tensors', {}, 'SAFETENSORS_INVALID_SELECTION'],
    ['an unknown name', { tensors: [{ name: 'nobody' }] }, 'SAFETENSORS_INVALID_SELECTION'],
    ['a name twice', { tensors: [{ name: 'o' }, { name: 'o' }] }, 'SAFETENSORS_INVALID_SELECTION'],
    ['what JSON cannot hold', { tensors: [{ name: 'o', ranges: [[0, Number.NaN]] }] }, 'SAFETENSORS_INVALID_SELECTION'],
    ['a range outside', { tensors: [{ name: 'o', ranges: [[0, 65]] }] }, 'SAFETENSORS_INVALID_SLICE'],
    [
      'too many ranges',
      {
        tensors: [
          {
            name: 'norm',
            ranges: [
              [0, 1],
              [0, 1],
            ],
          },
        ],
      },
      'SAFETENSORS_INVALID_SLICE',
    ],
    ['no layout', { tensors: [], layout: 'x' }, 'SAFETENSORS_INVALID_SELECTION'],
    ['another layout', { tensors: [], layout: '0'.repeat(64) }, 'SELECTION_OTHER_CHECKPOINT'],
  ])('is refused for %s, without a trace', async (_, selection, causeCode) => {
    const before = descriptorCount()
    const { heldBytes } = await statusWhere(coordinator, () => true)
    const error = await refusal(attachPart(selection as Selection))
    expect(error).toMatchObject({ code: 'SELECTION_REFUSED', checkpoint: 'a', version: 1, causeCode })
    expect(error.message).toMatch(/^Cannot give the selected part of checkpoint "a": /)
    const status = await statusWhere(coordinator, (found) => leasesOf(found).length === 0)
    expect(status.heldBytes).toBe(heldBytes)
    expect(descriptorCount()).toBeLessThanOrEqual(before + 1)
  })

  it('is refused before it is sent when it is too long or no data; the connection and its leases stay', async () => {
    using part = await attachPart(quarter(0))
    const name = 'x'.repeat(7 * 2 ** 20)
    await expect(attachPart({ tensors: [{ name }] })).rejects.toThrow(/^The selection has 7340\d+ bytes as JSON/)
    for (const nonsense of [() => {}, Symbol('x')]) {
      await expect(attachPart(nonsense as unknown as Selection)).rejects.toThrow(TypeError)
    }
    expect(leasesOf(await statusWhere(coordinator, () => true))).toEqual(['a@1'])
    expect(hashesOf(part)).toEqual(await expected(0))
  })

  it('is read as it was when attach() was called', async () => {
    const selection = structuredClone(quarter(0)) as { tensors: { name: string }[] }
    const attaching = attachPart(selection)
    selection.tensors.length = 0
    using part = await attaching
    expect(hashesOf(part)).toEqual(await expected(0))
    await coordinator.ask('publish', 'a', await saveMatrices(join(folder, 'next'), { fill: 2 }))
    using next = await part.followLatest()
    expect(next.names).toEqual(part.names)
  })
})
