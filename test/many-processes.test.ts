import { describe, expect, it } from 'vitest'
import { HAS_ADDON } from './has-addon.ts'
import {
  checkpointIn,
  mappedMemory,
  type Program,
  pssOf,
  startCoordinatorProcess,
  startReader,
  statusWhere,
  temporarySocket,
} from './processes.ts'
import { temporaryFolder, writeSprinkledCheckpoint } from './support.ts'

const MIB = 2 ** 20
/** Threads of each reader's pool; with none it reads in its main thread. */
const READERS = [2, 2, 0, 0, 0, 0]
/** What a process may occupy beside the weights, Node and its heaps included; threads of a pool get nothing on top. */
const PROCESS_BYTES = 40_000_000

interface ThreadChecksums {
  readonly threadId: number
  readonly checksums: Record<string, string>
}

describe.skipIf(!HAS_ADDON)('a coordinator and its clients', () => {
  it.each(['file', 'sealed'] as const)('occupy one copy of a checkpoint with %s backing', async (backing) => {
    const { folder, byteLength, checksums } = writeSprinkledCheckpoint(temporaryFolder(), {
      shards: 3,
      tensorsInEach: 19,
      tensorBytes: 9 * MIB,
    })
    const socket = temporarySocket()
    const coordinator = await startCoordinatorProcess(socket)
    await coordinator.ask('publish', { name: 'weights', source: folder, backing })
    const readers = await Promise.all(READERS.map((threads) => startReader({ socket, checkpoint: 'weights', threads })))
    for (const [at, threads] of READERS.entries()) await expectChecksums(readers[at]!, threads, checksums)
    await statusWhere(socket, 'six leases are held', (status) => {
      return checkpointIn(status, 'weights')?.versions[0]?.leases === READERS.length
    })

    const programs = [coordinator, ...readers]
    const occupied = await pssOf(programs)
    expect(occupied).toBeGreaterThan(byteLength)
    expect(occupied).toBeLessThan(1.02 * byteLength + programs.length * PROCESS_BYTES)
    // The weights alone: the headers and the directory come on top of the tensors.
    const ofWeights = programs.reduce((sum, { pid }) => sum + mappedMemory(pid, folder).pssBytes, 0)
    expect(ofWeights / byteLength).toBeGreaterThan(0.999)
    expect(ofWeights / byteLength).toBeLessThan(1.01)

    const seventh = await startReader({ socket, checkpoint: 'weights' })
    await expectChecksums(seventh, 0, checksums)
    // The whole process, a bare Node of which is most: so nothing is taken off for one.
    expect((await pssOf([...programs, seventh])) - occupied).toBeLessThan(PROCESS_BYTES)
  })
})

/** Every thread of the reader reads everything. */
async function expectChecksums(reader: Program, threads: number, expected: Readonly<Record<string, string>>) {
  if (threads === 0) {
    expect(await reader.ask('checksums')).toEqual(expected)
    return
  }
  const read = await reader.ask<ThreadChecksums[]>('checksumsInThreads')
  expect(new Set(read.map(({ threadId }) => threadId)).size).toBe(threads)
  for (const { checksums } of read) expect(checksums).toEqual(expected)
}
