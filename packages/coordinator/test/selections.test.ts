import { fstatSync, readSync } from 'node:fs'
import { join } from 'node:path'
import type { CoordinatorStatus } from '@onecopy/protocol'
import { type Descriptor, isSealed } from '@onecopy/sharedarraybuffer-utils'
import { beforeEach, describe, expect, it } from 'vitest'
import {
  CoordinatorProcess,
  columns,
  modelBytes,
  refusal,
  saveMatrices,
  TestClient,
  temporaryFolder,
  until,
} from './support.ts'

const TEN_COLUMNS = JSON.stringify(columns(0, 10))

let folder: string
let socket: string
let model: string

beforeEach(async () => {
  folder = temporaryFolder()
  socket = join(folder, 's', 'socket')
  model = await saveMatrices(join(folder, 'model'))
})

/** A coordinator of a process of its own that serves `model` as `m`. */
async function serve(options: object = {}, publish: object = { backing: 'sealed' }): Promise<CoordinatorProcess> {
  const coordinator = await CoordinatorProcess.start({ socket, ...options })
  await coordinator.ask('publish', 'm', model, publish)
  return coordinator
}

async function statusOf(coordinator: CoordinatorProcess): Promise<CoordinatorStatus> {
  return (await coordinator.ask('status')) as CoordinatorStatus
}

async function arenaBytesOf(coordinator: CoordinatorProcess): Promise<number> {
  const { checkpoints } = await statusOf(coordinator)
  return checkpoints.flatMap(({ versions }) => versions).reduce((sum, { arenaBytes }) => sum + arenaBytes, 0)
}

/** Descriptors and mappings of memory and files, after what is not used any more was collected. */
async function memoryOf(coordinator: CoordinatorProcess): Promise<object> {
  await coordinator.ask('measure')
  const { descriptors, mappings } = coordinator.holds()
  return { mappings, descriptors: descriptors.filter((path) => /memfd:|safetensors/.test(path)) }
}

const inode = ({ number }: Descriptor): number => fstatSync(number).ino

describe.each(['file', 'sealed'] as const)('a grant with a selection, on %s backing', (backing) => {
  it('has the arenas behind the shards, as files in safetensors format that are called by their parts', async () => {
    await serve({}, { backing })
    const client = await TestClient.connect(socket)
    const { granted, descriptors } = await client.acquire('m', null, 0, TEN_COLUMNS)
    expect(granted).toMatchObject({ shards: [{ name: 'model.safetensors' }], arenas: [{ name: 'arena 1' }] })
    expect(descriptors).toHaveLength(3)
    expect(descriptors.map((descriptor) => isSealed(descriptor))).toEqual([true, backing === 'sealed', true])
    const { byteLength } = granted.arenas[0]!
    const arena = Buffer.alloc(byteLength + 1)
    expect(readSync(descriptors[2]!.number, arena, 0, byteLength + 1, 0)).toBe(byteLength)
    const dataOffset = 8 + Number(arena.readBigUInt64LE(0))
    const header = JSON.parse(arena.toString('utf8', 8, dataOffset))
    expect(header).toEqual({
      '["a",[[[0,64]],[[0,10]]]]': { dtype: 'U8', shape: [64, 10], data_offsets: [0, 640] },
      '["b",[[[0,64]],[[0,10]]]]': { dtype: 'U8', shape: [64, 10], data_offsets: [640, 1280] },
    })
    expect(byteLength).toBe(dataOffset + 1280)
    for (const [at, add] of [0, 1].entries()) {
      const rows = Array.from({ length: 64 }, (_, row) => Array.from({ length: 10 }, (_, column) => row * 64 + column))
      const found = arena.subarray(dataOffset + 640 * at, dataOffset + 640 * (at + 1))
      expect([...found]).toEqual(rows.flat().map((index) => add + (index % 251)))
    }
  })

  it('has none without a selection, and for a selection whose parts are single runs', async () => {
    const coordinator = await serve({}, { backing })
    const client = await TestClient.connect(socket)
    const rows = JSON.stringify({ tensors: [{ name: 'a', ranges: [[8, 16]] }, { name: 'b' }] })
    for (const selection of [null, rows, '{"tensors":[]}']) {
      expect((await client.acquire('m', null, 0, selection)).granted.arenas).toEqual([])
    }
    expect(await arenaBytesOf(coordinator)).toBe(0)
  })

  it('has the same memory for all who ask for the same, until the last of them is gone', async () => {
    const coordinator = await serve({}, { backing })
    const clients = await Promise.all([1, 2, 3].map(() => TestClient.connect(socket)))
    const before = await memoryOf(coordinator)
    const grants = await Promise.all(clients.map((client) => client.acquire('m', null, 0, TEN_COLUMNS)))
    expect(new Set(grants.map(({ descriptors }) => inode(descriptors[2]!))).size).toBe(1)
    const arenaBytes = grants[0]!.granted.arenas[0]!.byteLength
    const heldBytes = arenaBytes + (backing === 'sealed' ? modelBytes(model) : 0)
    expect(await statusOf(coordinator)).toMatchObject({
      heldBytes,
      checkpoints: [{ versions: [{ arenaBytes, heldBytes, leases: 3 }] }],
    })
    await clients[0]!.release(grants[0]!.granted.lease)
    clients[1]!.close()
    await until(async () => (await statusOf(coordinator)).clients.length === 2)
    expect(await arenaBytesOf(coordinator)).toBe(arenaBytes)
    await clients[2]!.release(grants[2]!.granted.lease)
    expect(await arenaBytesOf(coordinator)).toBe(0)
    clients[2]!.close()
    clients[0]!.close()
    await expect.poll(() => memoryOf(coordinator), { timeout: 30_000 }).toEqual(before)
  })
})

describe('a selection that is refused', () => {
  it('costs the lease that it was for, and nothing else', async () => {
    const coordinator = await serve()
    const client = await TestClient.connect(socket)
    const before = await memoryOf(coordinator)
    const other = JSON.stringify({ tensors: [], layout: '0'.repeat(64) })
    for (const selection of ['', 'null', '{"tensors":[{"name":"c"}]}', other]) {
      const error = await refusal(client.acquire('m', null, 0, selection))
      expect(error).toMatchObject({ name: 'CoordinatorError', code: 'SELECTION_REFUSED', checkpoint: 'm', version: 1 })
    }
    expect(client.hasEnded).toBe(false)
    expect(await statusOf(coordinator)).toMatchObject({ checkpoints: [{ versions: [{ leases: 0, arenaBytes: 0 }] }] })
    expect(await memoryOf(coordinator)).toEqual(before)
  })

  it('ends the connection when it is no text, or too long', async () => {
    await serve()
    for (const selection of [7, 'x'.repeat(7 * 2 ** 20 + 1)]) {
      const client = await TestClient.connect(socket)
      void client.ask({ type: 'acquire', checkpoint: 'm', version: null, waitMs: 0, selection: selection as string })
      await client.ended
    }
  })
})

describe('a budget', () => {
  it('has no room for an arena: BUDGET_EXCEEDED, and everybody else goes on', async () => {
    const coordinator = await serve({ budgetBytes: modelBytes(model) + 2000 })
    const [first, second] = [await TestClient.connect(socket), await TestClient.connect(socket)]
    const { descriptors } = await first.acquire('m', null, 0, TEN_COLUMNS)
    const status = await statusOf(coordinator)
    const before = await memoryOf(coordinator)
    const error = await refusal(second.acquire('m', null, 0, JSON.stringify(columns(10, 30))))
    expect(error).toMatchObject({
      code: 'BUDGET_EXCEEDED',
      holders: [{ checkpoint: 'm', heldBytes: status.heldBytes }],
    })
    expect(error.message).toMatch(/^An arena of checkpoint "m" needs /)
    expect(await statusOf(coordinator)).toMatchObject({ heldBytes: status.heldBytes, checkpoints: status.checkpoints })
    expect(await memoryOf(coordinator)).toEqual(before)
    // What is there already, and what takes no memory, can be had.
    const same = await second.acquire('m', null, 0, TEN_COLUMNS)
    expect(inode(same.descriptors[2]!)).toBe(inode(descriptors[2]!))
    await second.acquire('m')
    // And what did not fit fits when the others have gone.
    first.close()
    second.close()
    await until(async () => (await arenaBytesOf(coordinator)) === 0)
    const third = await TestClient.connect(socket)
    await third.acquire('m', null, 0, JSON.stringify(columns(20, 31)))
  })

  it('counts arenas of file backing alone', async () => {
    const coordinator = await serve({ budgetBytes: 2000 }, {})
    const client = await TestClient.connect(socket)
    await client.acquire('m', null, 0, TEN_COLUMNS)
    expect(await refusal(client.acquire('m', null, 0, JSON.stringify(columns(5, 15))))).toMatchObject({
      code: 'BUDGET_EXCEEDED',
    })
    expect((await statusOf(coordinator)).heldBytes).toBe(await arenaBytesOf(coordinator))
  })
})

describe('a client that goes while its arena is gathered', () => {
  it('leaves no memory, no lease and no reservation; who waits for the same gets it', async () => {
    const rows = 1 << 15
    const selection = JSON.stringify(columns(0, 512, rows))
    const large = await saveMatrices(join(folder, 'large'), { rows, columns: 1024 })
    const coordinator = await serve()
    await coordinator.ask('publish', 'large', large)
    const idle = (await statusOf(coordinator)).heldBytes
    const [doomed, patient] = [await TestClient.connect(socket), await TestClient.connect(socket)]
    void doomed.ask({ type: 'acquire', checkpoint: 'large', version: null, waitMs: 0, selection })
    await until(async () => (await statusOf(coordinator)).heldBytes > idle)
    const waiting = patient.acquire('large', null, 0, selection)
    doomed.close()
    const { granted } = await waiting
    expect(granted.arenas).toHaveLength(1)
    await until(async () => (await statusOf(coordinator)).clients.length === 1)
    const { heldBytes } = await statusOf(coordinator)
    expect(heldBytes).toBe(idle + granted.arenas[0]!.byteLength)
    await patient.release(granted.lease)
    const end = await statusOf(coordinator)
    expect(end.heldBytes).toBe(idle)
    expect(end.checkpoints.flatMap(({ versions }) => versions).map(({ leases }) => leases)).toEqual([0, 0])
  })

  it('does not keep a coordinator from closing', async () => {
    const rows = 1 << 15
    const coordinator = await serve()
    await coordinator.ask('publish', 'm', await saveMatrices(join(folder, 'large'), { rows, columns: 1024 }))
    const client = await TestClient.connect(socket)
    const selection = JSON.stringify(columns(0, 512, rows))
    void client.ask({ type: 'acquire', checkpoint: 'm', version: null, waitMs: 0, selection })
    await until(async () => (await statusOf(coordinator)).heldBytes > 0)
    expect(await coordinator.kill('SIGTERM')).toEqual({ code: 0, signal: null, stderr: '' })
  })
})

describe('arenas that are handed back', () => {
  /** Two clients of a coordinator that dies, with what they hold of one arena. */
  async function survivors(backing: 'file' | 'sealed') {
    const first = await serve({}, { backing })
    const clients = await Promise.all([1, 2].map(() => TestClient.connect(socket)))
    const grants = await Promise.all(clients.map((client) => client.acquire('m', null, 0, TEN_COLUMNS)))
    await first.kill()
    const resume = async ({ granted, descriptors }: (typeof grants)[number], arenas = descriptors.slice(2)) => {
      const client = await TestClient.connect(socket)
      const { checkpoint, version, fingerprint, label, shards } = granted
      const lengths = arenas.map((descriptor) => ({ name: 'arena', byteLength: fstatSync(descriptor.number).size }))
      const offer = { checkpoint, version, fingerprint, label, backing, shards, arenas: lengths }
      const own = backing === 'sealed' ? descriptors.slice(0, 2) : []
      const { message } = await client.ask({ type: 'resume', ...offer }, [...own, ...arenas])
      return { client, message }
    }
    return { grants, resume }
  }

  it.each(['file', 'sealed'] as const)('count once, and serve others, on %s backing', async (backing) => {
    const { grants, resume } = await survivors(backing)
    const coordinator = await CoordinatorProcess.start({ socket, handBackMs: 60_000 })
    // Publishing waits for sealed memory, and resuming waits for files to be published.
    const publishing = coordinator.ask('publish', 'm', model, { backing, load: 'on-demand' })
    const resumed = await Promise.all(grants.map((grant) => resume(grant)))
    await publishing
    expect(resumed.map(({ message }) => message)).toMatchObject([{ type: 'resumed' }, { type: 'resumed' }])
    expect(await arenaBytesOf(coordinator)).toBe(grants[0]!.granted.arenas[0]!.byteLength)
    const fresh = await TestClient.connect(socket)
    const { granted, descriptors } = await fresh.acquire('m', null, 0, TEN_COLUMNS)
    expect(inode(descriptors[2]!)).toBe(inode(grants[0]!.descriptors[2]!))
    for (const { client, message } of resumed) await client.release((message as { lease: number }).lease)
    expect(await arenaBytesOf(coordinator)).toBe(granted.arenas[0]!.byteLength)
    fresh.close()
    await until(async () => (await arenaBytesOf(coordinator)) === 0)
  })

  it('resume a lease on files whose version was given up: it is loaded again only for those who have arenas', async () => {
    const { grants, resume } = await survivors('file')
    const coordinator = await serve({}, { backing: 'file', load: 'on-demand' })
    const { message } = await resume(grants[0]!, [])
    expect(message).toMatchObject({ type: 'resumed', version: 1 })
    expect(await statusOf(coordinator)).toMatchObject({
      checkpoints: [{ versions: [{ state: 'unloaded', leases: 1 }] }],
    })
    expect((await resume(grants[1]!)).message).toMatchObject({ type: 'resumed', version: 1 })
    expect(await statusOf(coordinator)).toMatchObject({ checkpoints: [{ versions: [{ state: 'ready', leases: 2 }] }] })
  })

  it.each(['file', 'sealed'] as const)(
    'are refused when they are none, with the lease, on %s backing',
    async (backing) => {
      const { grants, resume } = await survivors(backing)
      const coordinator = await serve({ handBackMs: 50 }, { backing })
      const [grant] = grants as [(typeof grants)[number]]
      // The directory is sealed memory, and no arena.
      for (const arenas of [[grant.descriptors[0]!], [grant.descriptors[2]!, grant.descriptors[0]!]]) {
        const { client, message } = await resume(grant, arenas)
        expect(message).toMatchObject({ type: 'error', error: { code: 'RESUME_REFUSED', fields: { checkpoint: 'm' } } })
        expect(await arenaBytesOf(coordinator)).toBe(0)
        expect((await client.acquire('m', null, 0, TEN_COLUMNS)).granted.arenas).toHaveLength(1)
        client.close()
        await until(async () => (await statusOf(coordinator)).clients.length === 0)
      }
      expect((await resume(grant)).message).toMatchObject({ type: 'resumed' })
    },
  )
})

/** A few kilobytes of JSON that make 2^16 boxes of each tensor. */
const SCATTERED = Array.from({ length: 256 }, (_, at) => [2 * at, 2 * at + 1])
const LABORIOUS = JSON.stringify({ tensors: ['a', 'b'].map((name) => ({ name, ranges: [SCATTERED, SCATTERED] })) })

describe('a selection that takes long to work out', () => {
  beforeEach(async () => {
    model = await saveMatrices(join(folder, 'large'), { rows: 512, columns: 512 })
  })

  it('holds up nobody who asks for something else', async () => {
    await serve()
    const [client, other] = [await TestClient.connect(socket), await TestClient.connect(socket)]
    let answered = false
    const laborious = client.acquire('m', null, 0, LABORIOUS).finally(() => {
      answered = true
    })
    let rounds = 0
    for (; !answered; rounds++) expect((await other.ask({ type: 'status' })).message.type).toBe('status')
    expect(rounds).toBeGreaterThan(3)
    const { granted } = await laborious
    expect(granted.arenas[0]!.byteLength).toBeGreaterThan(2 * 256 * 256)
  })

  it('is worked out once at a time for each client, so that others have their turns between', async () => {
    await serve()
    const [hostile, other] = [await TestClient.connect(socket), await TestClient.connect(socket)]
    const order: string[] = []
    const many = Array.from({ length: 4 }, async () => {
      await hostile.acquire('m', null, 0, LABORIOUS)
      order.push('laborious')
    })
    // Answered after the requests above have come.
    await hostile.ask({ type: 'release', lease: 0 })
    await other.acquire('m', null, 0, TEN_COLUMNS)
    order.push('other')
    await Promise.all(many)
    expect(order.indexOf('other')).toBeLessThan(2)
  })

  it('may wait with so many bytes of others as one client may have waiting, and not more', async () => {
    await serve()
    const client = await TestClient.connect(socket)
    const long = `${TEN_COLUMNS}${' '.repeat(3 * 2 ** 20)}`
    const refused: (string | undefined)[] = []
    for (let asked = 0; asked < 30 && refused.length === 0; asked++) {
      client.acquire('later', null, 60_000, long).catch((error: { code?: string }) => refused.push(error.code))
      // Answered when the request before has come.
      await client.ask({ type: 'release', lease: 0 })
      if (asked < 20) expect(refused).toEqual([])
    }
    expect(refused).toEqual(['CLIENT_REFUSED'])
    await client.acquire('m', null, 0, TEN_COLUMNS)
  })
})
