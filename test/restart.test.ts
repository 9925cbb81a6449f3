import { readFileSync } from 'node:fs'
import { describe, expect, it, onTestFinished } from 'vitest'
import { HAS_ADDON } from './has-addon.ts'
import { type Program, startCoordinatorProcess, startReader, statusWhere, temporarySocket, until } from './processes.ts'
import { type SprinkledCheckpoint, temporaryFolder, writeSprinkledCheckpoint } from './support.ts'

const SIZE = { shards: 2, tensorsInEach: 2, tensorBytes: 2 ** 20 }

/** The memory of shards that processes have mapped: the inodes of what is sealed, each once. */
function memoriesOf(programs: readonly Program[], { folder }: SprinkledCheckpoint): number {
  const inodes = programs.flatMap(({ pid }) => {
    const lines = readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')
    return lines
      .filter((line) => line.includes('/memfd:') && line.includes(`:${folder}/`))
      .map((line) => line.split(/\s+/)[4])
  })
  return new Set(inodes).size
}

describe.skipIf(!HAS_ADDON)('a coordinator that follows another one', () => {
  async function serve(socket: string, model: SprinkledCheckpoint, handBackMs: number): Promise<Program> {
    const coordinator = await startCoordinatorProcess(socket, { handBackMs })
    await coordinator.ask('publish', { name: 'weights', source: model.folder, backing: 'sealed' })
    return coordinator
  }

  /** Collects until there is one copy of each shard, and one lease for each reader. */
  async function oneCopy(socket: string, model: SprinkledCheckpoint, programs: readonly Program[]): Promise<void> {
    await statusWhere(socket, 'every reader has its lease on the one version', ({ heldBytes, checkpoints }) => {
      const versions = checkpoints.flatMap((checkpoint) => checkpoint.versions)
      return (
        versions.length === 1 && versions[0]!.leases === programs.length - 1 && heldBytes === versions[0]!.byteLength
      )
    })
    await until(async () => {
      await Promise.all(programs.map((program) => program.ask('collect')))
      return memoriesOf(programs, model) === SIZE.shards
    }, 'there is one memory for each shard')
  }

  it.each(['SIGTERM', 'SIGKILL'] as const)(
    'after %s has the memory that its clients have, and no other',
    async (signal) => {
      const model = writeSprinkledCheckpoint(temporaryFolder(), SIZE)
      const socket = temporarySocket()
      const first = await serve(socket, model, 60_000)
      const readers = [
        await startReader({ socket, checkpoint: 'weights' }),
        await startReader({ socket, checkpoint: 'weights' }),
      ]
      await oneCopy(socket, model, [first, ...readers])
      process.kill(first.pid, signal)
      await first.ended
      // A minute is longer than a test may take: it goes on as soon as the memory is back.
      const second = await serve(socket, model, 60_000)
      await oneCopy(socket, model, [second, ...readers])
      for (const reader of readers) expect(await reader.ask('checksums')).toEqual(model.checksums)
    },
  )

  it('takes the memory of a client that was frozen meanwhile, and lets go of what it read itself', async () => {
    const model = writeSprinkledCheckpoint(temporaryFolder(), SIZE)
    const socket = temporarySocket()
    const first = await serve(socket, model, 0)
    const reader = await startReader({ socket, checkpoint: 'weights' })
    process.kill(reader.pid, 'SIGSTOP')
    onTestFinished(() => void process.kill(reader.pid, 'SIGCONT'))
    process.kill(first.pid, 'SIGTERM')
    await first.ended
    const second = await serve(socket, model, 0)
    const other = await startReader({ socket, checkpoint: 'weights' })
    process.kill(reader.pid, 'SIGCONT')
    // Both are held now: by those who cannot let go of it.
    await statusWhere(socket, 'the frozen reader has its lease', ({ checkpoints }) => {
      const versions = checkpoints.flatMap((checkpoint) => checkpoint.versions)
      return versions.length === 2 && versions.every(({ version, leases }) => version === 1 && leases === 1)
    })
    await other.kill()
    await oneCopy(socket, model, [second, reader])
    expect(await reader.ask('checksums')).toEqual(model.checksums)
  })
})
