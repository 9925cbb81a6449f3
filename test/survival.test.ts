import { processMemory } from '@onecopy/sharedarraybuffer-utils'
import { describe, expect, it } from 'vitest'
import { HAS_ADDON } from './has-addon.ts'
import {
  bytesReadBy,
  descriptorsOf,
  holdersOf,
  machineSharedMemory,
  mappedPaths,
  type Program,
  startCoordinatorProcess,
  startReader,
  statusWhere,
  temporarySocket,
  until,
} from './processes.ts'
import { type SprinkledCheckpoint, temporaryFolder, writeSprinkledCheckpoint } from './support.ts'

const MIB = 2 ** 20
const SMALL = { shards: 2, tensorsInEach: 2, tensorBytes: MIB }
/** Who dies in each round. */
const ROUNDS = ['client', 'coordinator', 'client', 'both', 'client', 'coordinator', 'both', 'coordinator'] as const
/** Node's and the packages' own modules, and headers; the sealed checkpoint is fifty times that. */
const MAX_RESTART_READ_BYTES = 5_000_000
/** What a JavaScript heap may grow by; one copy of the smallest shard would be four times that. */
const MAX_HEAP_GROWTH_BYTES = 32 * MIB

describe.skipIf(!HAS_ADDON)('kill -9 of clients and of the coordinator', () => {
  it('fails no read of the others, frees the leases, reads nothing from disk again and leaks nothing', async () => {
    const sharedAtFirst = machineSharedMemory()
    const size = { shards: 2, tensorsInEach: 8 }
    const sealed = writeSprinkledCheckpoint(temporaryFolder(), { ...size, tensorBytes: 16 * MIB })
    const file = writeSprinkledCheckpoint(temporaryFolder(), { ...size, tensorBytes: MIB })
    const socket = temporarySocket()
    let coordinator = await serve(socket, sealed, file)
    expect(bytesReadBy(coordinator.pid).byCalls).toBeGreaterThan(sealed.byteLength)

    const survivors = [
      await startWatching(socket, 'sealed', sealed),
      await startWatching(socket, 'sealed', sealed, 1),
      await startWatching(socket, 'file', file),
    ]
    let victim = await startWatching(socket, 'sealed', sealed)
    const holdings = async (): Promise<Holding[]> => {
      const programs = [coordinator, ...survivors]
      await Promise.all(programs.map((program) => program.ask('collect')))
      return programs.map(({ pid }) => holdingOf(pid, [sealed.folder, file.folder]))
    }
    await leasesAre(socket, [...survivors, victim])
    const atFirst = await holdings()
    const heapsAtFirst = survivors.map(({ pid }) => processMemory(pid).anonymousBytes)

    for (const dies of ROUNDS) {
      const deaths = []
      if (dies !== 'coordinator') deaths.push(victim.kill())
      if (dies !== 'client') deaths.push(coordinator.kill())
      await Promise.all(deaths)
      if (dies !== 'client') {
        coordinator = await serve(socket, sealed, file)
        const { byCalls, fromDisk } = bytesReadBy(coordinator.pid)
        expect(byCalls).toBeLessThan(MAX_RESTART_READ_BYTES)
        expect(fromDisk).toBeLessThan(MAX_RESTART_READ_BYTES)
      }
      if (dies !== 'coordinator') {
        await leasesAre(socket, survivors)
        victim = await startWatching(socket, 'sealed', sealed)
      }
      await leasesAre(socket, [...survivors, victim])
      for (const reader of [...survivors, victim]) await readsOn(reader)
    }

    await expect.poll(holdings, { timeout: 30_000 }).toEqual(atFirst)
    for (const [at, { pid }] of survivors.entries()) {
      expect(processMemory(pid).anonymousBytes - heapsAtFirst[at]!).toBeLessThan(MAX_HEAP_GROWTH_BYTES)
    }
    const { checkpoints } = await statusWhere(socket, 'it answers', () => true)
    for (const { versions } of checkpoints) expect(versions).toMatchObject([{ version: 1, state: 'ready' }])

    // Memory that no file stands behind lives as long as somebody has a descriptor or a mapping of it.
    expect(holdersOf(sealed.folder)).toContain(coordinator.pid)
    for (const program of [...survivors, victim, coordinator]) await program.kill()
    for (const { folder } of [sealed, file]) expect(holdersOf(folder)).toEqual([])
    await until(() => {
      return machineSharedMemory() < sharedAtFirst + sealed.byteLength / 2
    }, 'the shared memory of the machine is what it was')
  })

  it.each(['file', 'sealed'] as const)(
    'leaves clients with %s backing able to follow what comes after it',
    async (backing) => {
      const [old, next] = [SMALL, SMALL].map((size) => writeSprinkledCheckpoint(temporaryFolder(), size)) as [
        SprinkledCheckpoint,
        SprinkledCheckpoint,
      ]
      const socket = temporarySocket()
      const first = await startCoordinatorProcess(socket)
      await first.ask('publish', { name: 'weights', source: old.folder, backing })
      const reader = await startReader({ socket, checkpoint: 'weights' })
      await first.kill()

      // Its versions are counted from 1 again, so that a number alone does not say what is new.
      const second = await startCoordinatorProcess(socket, { handBackMs: 200 })
      await second.ask('publish', { name: 'weights', source: next.folder, backing })
      await until(async () => (await reader.ask<number[]>('announced')).length > 0, 'the reader has heard of it')
      expect(await reader.ask('latestChecksums')).toEqual(next.checksums)
      expect(await reader.ask('checksums')).toEqual(old.checksums)
    },
  )
})

async function serve(socket: string, sealed: SprinkledCheckpoint, file: SprinkledCheckpoint): Promise<Program> {
  const coordinator = await startCoordinatorProcess(socket)
  await coordinator.ask('publish', { name: 'sealed', source: sealed.folder, backing: 'sealed' })
  await coordinator.ask('publish', { name: 'file', source: file.folder, backing: 'file' })
  return coordinator
}

/** A reader that verifies all of its checkpoint against the checksums, again and again. */
async function startWatching(
  socket: string,
  checkpoint: string,
  { checksums }: SprinkledCheckpoint,
  threads = 0,
): Promise<Program> {
  const reader = await startReader({ socket, checkpoint, threads })
  await reader.ask('watch', checksums)
  return reader
}

/** Waits until every one of these processes has its lease, and nobody else has any. */
async function leasesAre(socket: string, readers: readonly Program[]): Promise<void> {
  const pids = readers.map(({ pid }) => pid).sort()
  await statusWhere(socket, `the leases are those of ${pids.join(', ')}`, ({ clients, checkpoints }) => {
    const holders = clients.flatMap(({ pid, leases }) => leases.map(() => pid))
    const counts = checkpoints.flatMap(({ versions }) => versions.map(({ leases }) => leases))
    return holders.sort().join() === pids.join() && counts.reduce((sum, count) => sum + count, 0) === pids.length
  })
}

/** Waits until a reader has read more than one further tensor; none of its reads may have been wrong or have failed. */
async function readsOn(reader: Program): Promise<void> {
  const first = await reader.ask<Watched>('watched')
  await until(async () => {
    const { reads, failure } = await reader.ask<Watched>('watched')
    expect(failure).toBeNull()
    return reads > first.reads + 1
  }, `reader ${reader.pid} has read on`)
}

interface Watched {
  readonly reads: number
  readonly failure: string | null
}

/** What a process holds: the same before and after, or something leaked. */
interface Holding {
  /** Of all kinds; a socket or pipe without its number. */
  readonly descriptors: readonly string[]
  /** Of weights and directories. */
  readonly mappings: readonly string[]
}

function holdingOf(pid: number, folders: readonly string[]): Holding {
  const descriptors = descriptorsOf(pid).map((path) => path.replace(/^(\w+):\[\d+\]$/, '$1'))
  const mappings = folders.flatMap((folder) => mappedPaths(pid, folder))
  return { descriptors: descriptors.sort(), mappings: mappings.sort() }
}
