import { readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { describe, expect, it } from 'vitest'
import { HAS_ADDON } from './has-addon.ts'
import {
  checkpointIn,
  type Program,
  startCoordinatorProcess,
  startReader,
  statusWhere,
  temporarySocket,
} from './processes.ts'
import {
  checksumsOf,
  type SprinkledCheckpoint,
  sprinkle,
  temporaryFolder,
  writeSprinkledCheckpoint,
} from './support.ts'

const SHARDS = 3

describe.skipIf(!HAS_ADDON)('files that change on disk', () => {
  it('are never noticed by readers with sealed backing', async () => {
    const { socket, checkpoint } = await serve('sealed')
    const { shardPaths, checksums } = checkpoint
    const reader = await startReader({ socket, checkpoint: 'weights' })
    expect(await reader.ask('checksums')).toEqual(checksums)
    expect(await changedOf(socket)).toEqual([false])

    const [first, second, third] = shardPaths as [string, string, string]
    truncateSync(first, 4096)
    overwrite(second)
    rmSync(third)
    expect(await reader.ask('checksums')).toEqual(checksums)
    expect(await changedOf(socket)).toEqual([true])

    const late = await startReader({ socket, checkpoint: 'weights' })
    expect(await late.ask('checksums')).toEqual(checksums)
  })

  it('leave readers with file backing what they had when they were deleted or renamed over', async () => {
    const { socket, checkpoint, coordinator } = await serve('file')
    const { folder, shardPaths, checksums } = checkpoint
    const reader = await startReader({ socket, checkpoint: 'weights' })

    for (const path of shardPaths.slice(1)) replace(path)
    rmSync(shardPaths[0]!)
    expect(await reader.ask('checksums')).toEqual(checksums)
    expect(await changedOf(socket)).toEqual([true])
    const late = await startReader({ socket, checkpoint: 'weights' })
    expect(await late.ask('checksums')).toEqual(checksums)

    // What is incomplete is not published, and what was published stays.
    await expect(coordinator.ask('publish', { name: 'weights', source: folder })).rejects.toMatchObject({
      code: 'LOAD_FAILED',
    })
    expect(await changedOf(socket)).toEqual([true])
  })

  it('are a new version when they are published again, and readers of the old one go on', async () => {
    const { socket, checkpoint, coordinator } = await serve('file')
    const { folder, shardPaths, checksums } = checkpoint
    const old = await startReader({ socket, checkpoint: 'weights' })
    for (const path of shardPaths) replace(path)
    const changed = checksumsOf(shardPaths)
    expect(changed).not.toEqual(checksums)

    expect(await coordinator.ask('publish', { name: 'weights', source: folder })).toBe(2)
    const latest = await startReader({ socket, checkpoint: 'weights' })
    expect([await old.ask('version'), await latest.ask('version')]).toEqual([1, 2])
    expect(await latest.ask('checksums')).toEqual(changed)
    expect(await old.ask('checksums')).toEqual(checksums)
    expect(await changedOf(socket)).toEqual([true, false])

    await old.kill()
    await statusWhere(socket, 'version 1 went with its last reader', (status) => {
      return (
        checkpointIn(status, 'weights')
          ?.versions.map(({ version }) => version)
          .join() === '2'
      )
    })
    expect(await latest.ask('checksums')).toEqual(changed)
  })

  it.each([
    ['its main thread', 0],
    ['a thread of its pool', 1],
  ])('end the process that reads what was cut off in %s, after a line that says what', async (_, threads) => {
    const { socket, checkpoint, coordinator } = await serve('file')
    const { folder, shardPaths, checksums } = checkpoint
    const reader = await startReader({ socket, checkpoint: 'weights', threads })
    const other = await startReader({ socket, checkpoint: 'weights' })
    const kept = Object.fromEntries(Object.entries(checksums).slice(0, -1))
    const [lost] = Object.keys(checksums).slice(-1)
    const last = shardPaths.at(-1)!
    const whole = readFileSync(last)
    truncateSync(last, whole.byteLength - 2 ** 20)

    await expect(reader.ask('checksums', [lost])).rejects.toThrow('SIGBUS')
    const { signal, stderr } = await reader.ended
    expect(signal).toBe('SIGBUS')
    const lines = stderr.split('\n')
    expect(lines).toEqual([expect.stringMatching(/^onecopy: bytes of a mapped file are gone: .*replace files by/), ''])
    expect(lines[0]).toContain(`file "${basename(last)}"`)
    expect(lines[0]).toContain(`tensor "${lost}"`)

    // The coordinator lives, knows, and has the lease back; who reads other tensors goes on.
    const status = await statusWhere(socket, 'the dead reader is gone', ({ clients }) => {
      return !clients.some(({ pid }) => pid === reader.pid)
    })
    expect(status.pid).toBe(coordinator.pid)
    expect(checkpointIn(status, 'weights')?.versions).toMatchObject([{ changed: true, leases: 1 }])
    expect(await other.ask('checksums', Object.keys(kept))).toEqual(kept)
    await expect(startReader({ socket, checkpoint: 'weights' })).rejects.toThrow('RECEIVED_INVALID')

    replace(last, whole)
    expect(await coordinator.ask('publish', { name: 'weights', source: folder })).toBe(2)
    const late = await startReader({ socket, checkpoint: 'weights' })
    expect(await late.ask('checksums')).toEqual(checksumsOf(shardPaths))
    expect(await other.ask('checksums', Object.keys(kept))).toEqual(kept)
  })
})

interface Served {
  readonly socket: string
  readonly coordinator: Program
  readonly checkpoint: SprinkledCheckpoint
}

/** A coordinator with one checkpoint, "weights". */
async function serve(backing: 'file' | 'sealed'): Promise<Served> {
  const checkpoint = writeSprinkledCheckpoint(temporaryFolder(), {
    shards: SHARDS,
    tensorsInEach: 2,
    tensorBytes: 2 ** 20,
  })
  const socket = temporarySocket()
  const coordinator = await startCoordinatorProcess(socket)
  await coordinator.ask('publish', { name: 'weights', source: checkpoint.folder, backing })
  return { socket, coordinator, checkpoint }
}

/** Whether the files of each version have changed, as the coordinator's status says. */
async function changedOf(socket: string): Promise<boolean[]> {
  const status = await statusWhere(socket, 'it answers', () => true)
  return checkpointIn(status, 'weights')!.versions.map(({ changed }) => changed)
}

/** Writes over a file's bytes where they are, so that whoever has it mapped sees it. */
function overwrite(path: string): void {
  writeFileSync(path, new Uint8Array(readFileSync(path).byteLength).fill(0xff), { flag: 'r+' })
}

/** Puts another file with other values in a shard's place, as every careful writer does. */
function replace(path: string, bytes: Uint8Array = readFileSync(path)): void {
  const beside = `${path}.new`
  writeFileSync(beside, bytes)
  sprinkle([beside])
  renameSync(beside, path)
}
