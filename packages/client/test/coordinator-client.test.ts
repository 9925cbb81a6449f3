import { fstatSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openCheckpoint, type Selection } from '@onecopy/checkpoint'
import { attach } from '@onecopy/client'
import {
  type Descriptor,
  type FileMapping,
  mappingCount,
  openRegularFile,
  sealBytes,
} from '@onecopy/sharedarraybuffer-utils'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { CoordinatorClient } from '../src/coordinator-client.ts'
import {
  bytesReadBy,
  collectUntil,
  descriptorCount,
  grantOf,
  leasesOf,
  modelHash,
  Program,
  quarter,
  refusal,
  saveMatrices,
  saveModel,
  standIn,
  statusWhere,
  temporaryFolder,
  until,
  WELCOME,
} from './support.ts'

const MIB = 2 ** 20

const WANTED = { checkpoint: 'a', version: null, waitMs: 0, selection: null }

describe('a client whose coordinator dies', () => {
  let folder: string
  let socket: string
  let model: string
  let coordinator: Program

  beforeEach(async () => {
    folder = temporaryFolder()
    socket = join(folder, 's', 'socket')
    model = await saveModel(join(folder, 'model'), 1, 4 * MIB)
    coordinator = await Program.start('coordinator.mjs', socket)
  })

  async function restart(): Promise<Program> {
    await coordinator.kill()
    coordinator = await Program.start('coordinator.mjs', socket)
    return coordinator
  }

  it.each(['sealed', 'file'])('reads on and gets its lease back, on %s backing', async (backing) => {
    await coordinator.ask('publish', 'a', model, { backing })
    const readers = [await Program.start('reader.mjs', socket, 'a'), await Program.start('reader.mjs', socket, 'a')]
    for (let round = 0; round < 3; round++) {
      await coordinator.kill()
      for (const reader of readers) {
        const reads = (await reader.ask('reads')) as number
        await until(async () => ((await reader.ask('reads')) as number) > reads)
        expect(await reader.ask('read')).toBe(modelHash(1, 4 * MIB))
      }
      await restart()
      const before = bytesReadBy(coordinator.pid)
      expect(await coordinator.ask('publish', 'a', model, { backing })).toBe(1)
      // Sealed memory was handed back, so the shards were not read again; files are only mapped.
      expect(bytesReadBy(coordinator.pid) - before).toBeLessThan(MIB)
      const status = await statusWhere(coordinator, (found) => leasesOf(found).length === 2)
      expect(leasesOf(status)).toEqual(['a@1', 'a@1'])
      expect(status.clients.map(({ pid }) => pid).sort()).toEqual(readers.map(({ pid }) => pid).sort())
      expect(status.checkpoints[0]!.versions).toHaveLength(1)
    }
    for (const reader of readers) expect(await reader.ask('read')).toBe(modelHash(1, 4 * MIB))
    const fresh = await Program.start('reader.mjs', socket, 'a')
    expect(await fresh.ask('read')).toBe(modelHash(1, 4 * MIB))
  })

  it('hands memory back to a coordinator that publishes it only on demand', async () => {
    await coordinator.ask('publish', 'a', model, { backing: 'sealed' })
    using checkpoint = await attach({ socket, checkpoint: 'a' })
    await coordinator.kill()
    coordinator = await Program.start('coordinator.mjs', socket, '0')
    const before = bytesReadBy(coordinator.pid)
    await coordinator.ask('publish', 'a', model, { backing: 'sealed', load: 'on-demand' })
    const { checkpoints } = await statusWhere(coordinator, (status) => leasesOf(status).length === 1)
    expect(checkpoints[0]!.versions).toMatchObject([{ state: 'ready', leases: 1 }])
    expect(bytesReadBy(coordinator.pid) - before).toBeLessThan(MIB)
    expect(checkpoint.version).toBe(1)
  })

  it('which has closed a checkpoint meanwhile asks for no lease on it', async () => {
    await coordinator.ask('publish', 'a', model)
    const [kept, closed] = [await attach({ socket, checkpoint: 'a' }), await attach({ socket, checkpoint: 'a' })]
    await coordinator.kill()
    closed.close()
    await restart()
    await coordinator.ask('publish', 'a', model)
    await statusWhere(coordinator, (status) => leasesOf(status).length === 1)
    kept.close()
    await statusWhere(coordinator, (status) => leasesOf(status).length === 0)
  })

  it('attaches to the next one before its old leases are back, and has each of them once', async () => {
    await coordinator.ask('publish', 'a', model)
    const old = await Promise.all([1, 2, 3].map(() => attach({ socket, checkpoint: 'a' })))
    await restart()
    await coordinator.ask('publish', 'a', model)
    const fresh = await attach({ socket, checkpoint: 'a' })
    const status = await statusWhere(coordinator, (found) => leasesOf(found).length >= 4)
    expect(leasesOf(status)).toHaveLength(4)
    // Asked for by the same connection, behind whatever else it might ask for.
    const last = await attach({ socket, checkpoint: 'a' })
    expect(leasesOf(await statusWhere(coordinator, () => true))).toHaveLength(5)
    last.close()
    expect(status.clients).toHaveLength(1)
    for (const checkpoint of [...old, fresh]) checkpoint.close()
    await statusWhere(coordinator, (found) => leasesOf(found).length === 0)
  })

  it('hears of a version that is published after the restart, whichever backing it has', async () => {
    for (const backing of ['file', 'sealed']) {
      await coordinator.ask('publish', backing, await saveModel(join(folder, backing)), { backing })
      const checkpoint = await attach({ socket, checkpoint: backing })
      const announced = new Promise((resolve) => checkpoint.once('version', resolve))
      await coordinator.kill()
      coordinator = await Program.start('coordinator.mjs', socket, '10')
      await saveModel(join(folder, backing), 9)
      await coordinator.ask('publish', backing, join(folder, backing), { backing })
      expect(await announced).toMatchObject({ checkpoint: backing })
      const next = await checkpoint.followLatest()
      expect([checkpoint.tensor('t0').data[0], next.tensor('t0').data[0]]).toEqual([1, 9])
      checkpoint.close()
      next.close()
      await statusWhere(coordinator, (found) => leasesOf(found).length === 0)
    }
  })

  it('gets its lease on files also when they are published after the coordinator had given up waiting', async () => {
    await coordinator.ask('publish', 'a', model)
    using checkpoint = await attach({ socket, checkpoint: 'a' })
    const warned = new Promise<Error>((resolve) => process.once('warning', resolve))
    await coordinator.kill()
    coordinator = await Program.start('coordinator.mjs', socket, '1')
    expect((await warned).message).toMatch(/^onecopy: Checkpoint "a" is not resumed/)
    await coordinator.ask('publish', 'a', model)
    await statusWhere(coordinator, (found) => leasesOf(found).join() === 'a@1')
    expect(checkpoint.version).toBe(1)
  })

  it('an attach that waits goes on with the next coordinator, one that does not finds nobody', async () => {
    const waiting = attach({ socket, checkpoint: 'later', waitMs: 60_000 })
    await statusWhere(coordinator, ({ clients }) => clients.length === 1)
    await coordinator.kill()
    for (const waitMs of [0, 100]) {
      const found = await refusal(attach({ socket, checkpoint: 'a', waitMs }))
      expect(found).toMatchObject({ code: 'COORDINATOR_UNREACHABLE' })
    }
    await restart()
    await coordinator.ask('publish', 'later', model)
    ;(await waiting).close()
  })
})

describe('new versions', () => {
  it('are told to every holder, and taken with followLatest(), there and back again', async () => {
    const folder = temporaryFolder()
    const socket = join(folder, 's', 'socket')
    const [one, two] = [await saveModel(join(folder, '1')), await saveModel(join(folder, '2'), 9)]
    const coordinator = await Program.start('coordinator.mjs', socket)
    await coordinator.ask('publish', 'a', one, { backing: 'sealed' })
    await coordinator.ask('publish', 'other', one)
    const reader = await Program.start('reader.mjs', socket, 'a')
    const stays = await attach({ socket, checkpoint: 'a' })
    const other = await attach({ socket, checkpoint: 'other' })
    const heard: string[] = []
    stays.on('version', ({ checkpoint, version }) => heard.push(`${checkpoint}@${version}`))
    other.on('version', () => heard.push('other'))
    expect(await reader.ask('follow')).toBe(false)
    expect(await stays.followLatest()).toBe(stays)

    await coordinator.ask('publish', 'a', two, { backing: 'sealed' })
    await until(async () => `${await reader.ask('versions')}` === '2')
    expect(await reader.ask('read')).toBe(modelHash(1))
    expect(await reader.ask('follow')).toBe(true)
    expect(await reader.ask('read')).toBe(modelHash(9))
    await statusWhere(coordinator, (status) => leasesOf(status).sort().join() === 'a@1,a@2,other@1')
    const { version } = await stays.followLatest()
    expect(version).toBe(2)

    // Somebody still holds the first version, so publishing it again makes it the latest again.
    expect(await coordinator.ask('publish', 'a', one, { backing: 'sealed' })).toBe(1)
    expect(await reader.ask('follow')).toBe(true)
    expect(await reader.ask('version')).toBe(1)
    expect(await stays.followLatest()).toBe(stays)
    expect(heard).toEqual(['a@2'])
    stays.close()
    other.close()
    await coordinator.ask('retire', 'a')
    expect(await reader.ask('follow')).toBe(false)
    expect(await reader.ask('read')).toBe(modelHash(1))
  })
})

describe('CoordinatorClient', () => {
  /** A coordinator that the test speaks for, and what it grants. */
  async function start(onAcquire: (send: (...messages: object[]) => void, id: number) => void, selection?: Selection) {
    const folder = temporaryFolder()
    const model = join(folder, 'model')
    const { granted, descriptors } = await grantOf(
      await (selection ? saveMatrices(model) : saveModel(model)),
      selection,
    )
    const socket = join(folder, 'socket')
    const { counterparts, close } = await standIn(socket, (message, { connection }) => {
      if (message.type === 'hello') return connection.send(WELCOME)
      const send = (...messages: object[]): void => {
        for (const each of messages as (typeof granted)[]) {
          connection.send(each, each.type === 'granted' ? descriptors : [])
        }
      }
      if (message.type === 'acquire') onAcquire(send, message.id)
      else if (message.type === 'release') connection.send({ type: 'done', id: message.id, result: null })
    })
    const client = new CoordinatorClient(socket, 'test')
    onTestFinished(() => client.close())
    return { client, granted, descriptors, counterparts, close, socket }
  }

  it('tells of a version that is announced right behind the grant', async () => {
    const event = { type: 'version', checkpoint: 'a', version: 2, fingerprint: 'f' }
    const { client, granted } = await start((send, id) => send({ ...granted, id }, event))
    const checkpoint = await client.attach(WANTED)
    expect(await new Promise((resolve) => checkpoint.once('version', resolve))).toEqual({ checkpoint: 'a', version: 2 })
    checkpoint.close()
  })

  it('gives a lease back whose memory cannot be used, and keeps none of its descriptors', async () => {
    const { client, granted, descriptors, counterparts } = await start((send, id) => send({ ...granted, id }))
    const whole = descriptors.slice()
    using nonsense = sealBytes(new Uint8Array(100), 'nonsense')
    for (const [at, code] of [
      [0, 'DIRECTORY_INVALID'],
      [1, 'RECEIVED_INVALID'],
    ] as const) {
      descriptors.splice(0, descriptors.length, ...whole.with(at, nonsense.descriptor))
      const before = descriptorCount()
      expect(await refusal(client.attach(WANTED))).toMatchObject({ code })
      const released = (): number => counterparts[0]!.heard.filter(({ type }) => type === 'release').length
      await until(() => released() === at + 1)
      expect(descriptorCount()).toBeLessThanOrEqual(before + (at === 0 ? 3 : 1))
    }
    descriptors.splice(0, descriptors.length, ...whole)
    ;(await client.attach(WANTED)).close()
  })

  describe('that selects', () => {
    const wanted = { ...WANTED, selection: quarter(1) }

    /** Attaches with other arenas than the right one. */
    async function refusedWith(change: (right: Descriptor) => { descriptors: Descriptor[]; byteLengths: number[] }) {
      const grants: object[] = []
      const { client, granted, descriptors, counterparts } = await start(
        (send, id) => send({ ...granted, ...grants[0], id }),
        quarter(1),
      )
      ;(await client.attach(wanted)).close()
      await until(() => counterparts[0]!.heard.some(({ type }) => type === 'release'))
      const [arena] = descriptors.splice(-1)
      const { descriptors: others, byteLengths } = change(arena!)
      descriptors.push(...others)
      grants.push({ arenas: byteLengths.map((byteLength, at) => ({ name: `arena ${at + 1}`, byteLength })) })
      const before = [descriptorCount(), mappingCount()]
      const errors = [await refusal(client.attach(wanted)), await refusal(client.attach(wanted))]
      // The leases are given back, and nothing of what came stays.
      await until(() => counterparts[0]!.heard.filter(({ type }) => type === 'release').length === 3)
      await collectUntil(() => descriptorCount() <= before[0]! && mappingCount() <= before[1]!)
      expect(client.inUse).toBe(false)
      expect(errors[1]).toMatchObject({ code: errors[0]!.code, message: errors[0]!.message })
      return errors[0]!
    }

    it('takes no arena that can be changed', async () => {
      const path = join(temporaryFolder(), 'arena')
      writeFileSync(path, new Uint8Array(1000))
      const descriptor = openRegularFile(path)
      const error = await refusedWith(() => ({ descriptors: [descriptor], byteLengths: [1000] }))
      descriptor.close()
      expect(error).toMatchObject({ code: 'RECEIVED_INVALID' })
      expect(error.message).toContain('its "arena 1" is not sealed memory')
    })

    it('takes no arena of another length than was said', async () => {
      const error = await refusedWith((arena) => ({
        descriptors: [arena],
        byteLengths: [fstatSync(arena.number).size - 1],
      }))
      expect(error).toMatchObject({ code: 'RECEIVED_INVALID' })
    })

    it('takes no arena that is none', async () => {
      using nonsense = sealBytes(new Uint8Array(1000).fill(7), 'nonsense')
      const error = await refusedWith((arena) => ({
        descriptors: [arena, nonsense.descriptor],
        byteLengths: [fstatSync(arena.number).size, 1000],
      }))
      expect(error).toMatchObject({ name: 'SafetensorsError', code: 'SAFETENSORS_HEADER_TOO_LARGE' })
    })

    it('misses a part that no arena has', async () => {
      using whole = await openCheckpoint(await saveMatrices(join(temporaryFolder(), 'model')))
      const { arenas, release } = await whole.holdArenas(quarter(2))
      const other = arenas[0]!.memory as FileMapping
      const error = await refusedWith(() => ({
        descriptors: [other.descriptor],
        byteLengths: [other.byteLength],
      }))
      release()
      expect(error).toMatchObject({ name: 'CheckpointError', code: 'PART_MISSING', tensor: expect.any(String) })
      expect(await refusedWith(() => ({ descriptors: [], byteLengths: [] }))).toMatchObject({ code: 'PART_MISSING' })
    })

    it('offers the arenas that it has to the next coordinator, behind directory and shards', async () => {
      const { client, granted, descriptors, counterparts, close, socket } = await start(
        (send, id) => send({ ...granted, id }),
        quarter(1),
      )
      using part = await client.attach(wanted)
      expect(counterparts[0]!.heard).toContainEqual({
        type: 'acquire',
        id: 1,
        ...wanted,
        selection: JSON.stringify(quarter(1)),
      })
      const resumes: object[] = []
      const inodes = (given: readonly Descriptor[]): number[] => given.map(({ number }) => fstatSync(number).ino)
      close()
      await until(() => counterparts[0]!.connection.closed)
      await standIn(socket, (message, { connection }, received) => {
        if (message.type === 'hello') return connection.send(WELCOME)
        if (message.type !== 'resume') return
        resumes.push({ message, inodes: inodes(received) })
        connection.send({ type: 'resumed', id: message.id, lease: 1, version: 5 })
      })
      await until(() => part.version === 5)
      expect(granted.arenas).toHaveLength(1)
      expect(resumes).toMatchObject([{ message: { arenas: granted.arenas }, inodes: inodes(descriptors) }])
    })

    it('gathers the part itself when the coordinator ends before it has answered', async () => {
      let end = (): void => {}
      let asked = 0
      const { client, granted, close } = await start((send, id) => {
        if (asked++ === 0) send({ ...granted, id })
        else end()
      }, quarter(1))
      end = close
      const whole = await client.attach(WANTED)
      const part = await whole.select(quarter(1))
      expect([asked, part.tensor('o').shape]).toEqual([2, [64, 16]])
      expect(whole.arenaBytes).toBeGreaterThan(0)
      part.close()
      expect(whole.arenaBytes).toBe(0)
      whole.close()
    })

    it('closes its memory also when the connection was given up before', async () => {
      const { client, granted } = await start((send, id) => send({ ...granted, id }), quarter(1))
      const before = mappingCount()
      const part = await client.attach(wanted)
      await client.close()
      expect(part.tensor('o').shape).toEqual([64, 16])
      part.close()
      await collectUntil(() => mappingCount() <= before)
    })
  })

  it('offers its memory to the next coordinator once for each checkpoint, with all that belongs to it', async () => {
    const { client, granted, counterparts, close, socket } = await start((send, id) => send({ ...granted, id }))
    const kept = await client.attach(WANTED)
    const closed = await client.attach(WANTED)
    const resumes: (readonly [object, number])[] = []
    close()
    await until(() => counterparts[0]!.connection.closed)
    const next = await standIn(socket, (message, { connection }, received) => {
      if (message.type === 'hello') return connection.send(WELCOME)
      if (message.type !== 'resume') return
      resumes.push([message, received.length])
      if (resumes.length === 1) closed.close()
      connection.send({ type: 'resumed', id: message.id, lease: 40 + resumes.length, version: 5 })
    })
    await until(() => kept.version === 5)
    const { checkpoint, fingerprint, label, backing, shards } = granted
    const offer = { type: 'resume', checkpoint, version: 1, fingerprint, label, backing, shards }
    expect(resumes).toMatchObject([
      [offer, 3],
      [offer, 3],
    ])
    // The one that was closed while its lease came back gives it back.
    await until(() => next.counterparts[0]!.heard.some((message) => message.type === 'release'))
    const releases = next.counterparts[0]!.heard.filter((message) => message.type === 'release')
    expect(releases).toMatchObject([{ lease: 42 }])
    kept.close()
    await until(() => next.counterparts[0]!.heard.filter(({ type }) => type === 'release').length === 2)
  })

  it('rejects what it cannot understand as an answer', async () => {
    const { client } = await start((send, id) => send({ type: 'done', id, result: null }))
    await expect(client.attach(WANTED)).rejects.toThrow('The coordinator answered "done" to "acquire"')
  })
})
