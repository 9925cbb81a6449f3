import { openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { adoptDescriptor } from '@onecopy/sharedarraybuffer-utils'
import { describe, expect, it } from 'vitest'
import {
  CoordinatorProcess,
  modelBytes,
  saveModel,
  sealedOffer,
  TestClient,
  temporaryFolder,
  until,
} from './support.ts'

describe('a coordinator that follows another one', () => {
  const MIB = 2 ** 20

  async function dieWithHolder(backing: 'file' | 'sealed', end: NodeJS.Signals = 'SIGKILL') {
    const folder = temporaryFolder()
    const socket = join(folder, 's', 'socket')
    const model = await saveModel(join(folder, 'model'), { tensorBytes: 8 * MIB })
    const first = await CoordinatorProcess.start({ socket })
    await first.ask('publish', 'a', model, { backing })
    const client = await TestClient.connect(socket)
    const { granted, descriptors } = await client.acquire('a')
    await first.kill(end)
    await client.ended
    const second = await CoordinatorProcess.start({ socket, handBackMs: 60_000 })
    const resume = async () => {
      const again = await TestClient.connect(socket)
      const { checkpoint, version, fingerprint, label, shards, arenas } = granted
      const offer = { checkpoint, version, fingerprint, label, backing, shards, arenas }
      return { again, ...(await again.ask({ type: 'resume', ...offer }, backing === 'sealed' ? descriptors : [])) }
    }
    return { folder, socket, model, second, resume, granted }
  }

  const bytesRead = (pid: number): number => Number(/^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))![1])

  it.each([
    ['SIGKILL', 'before'],
    ['SIGKILL', 'while'],
    ['SIGTERM', 'before'],
    ['SIGTERM', 'while'],
  ] as const)('after %s takes sealed memory back %s it is published, and reads none of it', async (end, when) => {
    const { model, second, resume } = await dieWithHolder('sealed', end)
    const before = bytesRead(second.pid)
    const publishing = when === 'while' ? second.ask('publish', 'a', model, { backing: 'sealed' }) : null
    if (publishing !== null) await until(() => bytesRead(second.pid) > before)
    const { again, message } = await resume()
    expect(message).toMatchObject({ type: 'resumed', version: 1 })
    expect(await (publishing ?? second.ask('publish', 'a', model, { backing: 'sealed' }))).toBe(1)
    expect((await again.acquire('a')).granted.version).toBe(1)
    expect(bytesRead(second.pid) - before).toBeLessThan(MIB)
    expect(await second.ask('status')).toMatchObject({
      heldBytes: modelBytes(model),
      checkpoints: [{ versions: [{ version: 1, state: 'ready', leases: 2 }] }],
    })
  })

  it('waits for nobody when nobody can have memory of the one before', async () => {
    const folder = temporaryFolder()
    const options = { socket: join(folder, 's', 'socket'), handBackMs: 3_600_000 }
    const model = await saveModel(join(folder, 'model'))
    for (const end of ['SIGKILL', 'SIGTERM', 'SIGTERM'] as const) {
      const coordinator = await CoordinatorProcess.start(options)
      // An hour is longer than a test may take.
      expect(await coordinator.ask('publish', 'a', model, { backing: 'sealed' })).toBe(1)
      await coordinator.kill(end)
    }
  })

  it('takes the memory of a client that comes late in the place of what it read itself', async () => {
    const { socket, model, second, resume } = await dieWithHolder('sealed')
    await second.kill()
    const third = await CoordinatorProcess.start({ socket, handBackMs: 0 })
    expect(await third.ask('publish', 'a', model, { backing: 'sealed' })).toBe(1)
    const { again, message } = await resume()
    expect(message).toMatchObject({ type: 'resumed', version: 1 })
    await until(async () => {
      await third.ask('measure')
      return third.holds().mappings === 3
    }, 'it has one directory and two shards')
    expect(await third.ask('status')).toMatchObject({
      heldBytes: modelBytes(model),
      checkpoints: [{ versions: [{ version: 1, state: 'ready', leases: 1 }] }],
    })
    expect((await again.acquire('a')).granted.version).toBe(1)
  })

  it('resumes a lease on files once they are published', async () => {
    const { model, second, resume } = await dieWithHolder('file')
    const resumed = resume()
    await second.ask('publish', 'a', model)
    expect((await resumed).message).toMatchObject({ type: 'resumed', version: 1 })
    expect(await second.ask('status')).toMatchObject({ checkpoints: [{ versions: [{ leases: 1 }] }] })
  })

  it('tells a client whose version it does not have of the one that it has', async () => {
    const { folder, second, resume } = await dieWithHolder('sealed')
    await second.ask('publish', 'a', await saveModel(join(folder, 'other'), { fill: 9 }))
    const { again, message } = await resume()
    expect(message.type).toBe('resumed')
    await again.ask({ type: 'status' })
    expect(again.events).toMatchObject([{ type: 'version', checkpoint: 'a', version: 1 }])
    expect(message).toMatchObject({ version: 2 })
  })

  it('refuses memory that is not what it is said to be, and loads from disk', async () => {
    const { socket, model, second, granted } = await dieWithHolder('sealed')
    const liar = await TestClient.connect(socket)
    const { checkpoint, fingerprint, label, shards } = granted
    const { descriptors } = await liar.acquire('a').catch(() => ({ descriptors: [] }))
    expect(descriptors).toEqual([])
    using nothing = adoptDescriptor(openSync('/dev/null', 'r'))
    const offer = { checkpoint, version: 1, fingerprint, label, backing: 'sealed', shards, arenas: [] } as const
    const { message } = await liar.ask({ type: 'resume', ...offer }, Array(shards.length + 1).fill(nothing))
    expect(message).toMatchObject({ type: 'error', error: { code: 'RESUME_REFUSED' } })
    expect(second.holds().mappings).toBe(0)
    const fast = await CoordinatorProcess.start({ socket: `${socket}2`, handBackMs: 0 })
    expect(await fast.ask('publish', 'a', model, { backing: 'sealed' })).toBe(1)
  })

  it('takes no memory that a client made itself, under any name, and keeps none of it', async () => {
    const { second, granted, socket, model } = await dieWithHolder('sealed')
    const client = await TestClient.connect(socket)
    const forged = await sealedOffer(granted.label)
    const before = second.holds()
    for (const checkpoint of ['a', 'b', '../x']) {
      const named = { ...forged.offer, checkpoint, version: 1, backing: 'sealed' } as const
      const { message } = await client.ask({ type: 'resume', ...named }, forged.descriptors)
      expect(message).toMatchObject({ type: 'error', error: { code: 'RESUME_REFUSED' } })
    }
    forged.close()
    await until(() => second.holds().descriptors.length === before.descriptors.length, 'its descriptors are closed')
    expect(second.holds()).toEqual(before)
    // Under a name that had no memory out, nobody is waited for.
    expect(await second.ask('publish', 'b', model, { backing: 'sealed' })).toBe(1)
    expect(await second.ask('status')).toMatchObject({ checkpoints: [{ name: 'b', versions: [{ version: 1 }] }] })
  })
})
