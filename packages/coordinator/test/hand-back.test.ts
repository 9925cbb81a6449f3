import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { openSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Checkpoint, openCheckpoint } from '@onecopy/checkpoint'
import {
  adoptDescriptor,
  adoptFileMapping,
  closeDescriptors,
  connectUnix,
  type Descriptor,
  type FileMapping,
  listenUnix,
  mapFile,
  mappingCount,
  openRegularFile,
  sealBytes,
} from '@onecopy/sharedarraybuffer-utils'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { takeArenasBack, takeBack } from '../src/hand-back.ts'
import { Version } from '../src/version.ts'
import {
  collectUntil,
  columns,
  refusal,
  saveMatrices,
  saveModel,
  sealedOffer,
  temporaryFolder,
  until,
} from './support.ts'

describe('takeBack()', () => {
  let source: string
  let offer: Awaited<ReturnType<typeof sealedOffer>>['offer']
  let descriptors: readonly Descriptor[]

  beforeEach(async () => {
    source = await saveModel(join(temporaryFolder(), 'model'))
    const whole = await sealedOffer(source)
    onTestFinished(whole.close)
    offer = whole.offer
    descriptors = whole.descriptors
  })

  /** Nothing of a refused offer may stay open. */
  async function refused(changed: Partial<typeof offer>, given: readonly Descriptor[] = descriptors): Promise<string> {
    const before = [readdirSync('/proc/self/fd').length, mappingCount()]
    const error = await refusal(() => takeBack({ ...offer, ...changed }, given))
    expect(error).toMatchObject({ name: 'CoordinatorError', code: 'RESUME_REFUSED', checkpoint: 'a' })
    await collectUntil(() => readdirSync('/proc/self/fd').length <= before[0]! && mappingCount() <= before[1]!)
    return error.message.replace('Memory of checkpoint "a" is not taken back: ', '')
  }

  /** The offer with another descriptor in one place. */
  const replace = (at: number, descriptor: Descriptor): Descriptor[] => descriptors.with(at, descriptor)

  it('gives the checkpoint that was handed over, and leaves the descriptors to the caller', async () => {
    const memory = takeBack(offer, descriptors)
    using opened = await openCheckpoint(source)
    expect(memory.checkpoint).toMatchObject({ backing: 'sealed', fingerprint: opened.fingerprint, label: opened.label })
    expect(memory.checkpoint.tensor('t1').data).toEqual(opened.tensor('t1').data)
    expect(memory.directory.backing).toBe('sealed')
    memory.checkpoint.close()
    memory.directory.close()
    takeBack(offer, descriptors).checkpoint.close()
  })

  it('refuses another number of descriptors than was named', async () => {
    expect(await refused({}, descriptors.slice(1))).toBe('2 descriptors came, one directory and 2 shards were named')
    expect(await refused({ shards: [] })).toContain('3 descriptors came')
    expect(await refused({}, [])).toContain('0 descriptors came')
  })

  it('refuses what is not sealed memory: files, folders, sockets, pipes, memory that can be written', async () => {
    const folder = temporaryFolder()
    const listening = listenUnix(join(folder, 's'))
    const file = openRegularFile(join(source, 'model-00001-of-00002.safetensors'))
    const others = [file, adoptDescriptor(openSync(folder, 'r')), listening]
    for (const descriptor of others) {
      expect(await refused({}, replace(1, descriptor))).toBe('a descriptor is not sealed memory')
      expect(await refused({}, replace(0, descriptor))).toBe('a descriptor is not sealed memory')
    }
    connectUnix(join(folder, 's')).close()
    closeDescriptors(others)
  })

  it('refuses shards of another size than was named, and others than the directory describes', async () => {
    const [first, second] = offer.shards
    const shorter = { ...second!, byteLength: second!.byteLength - 1 }
    expect(await refused({ shards: [first!, shorter] })).toContain(`it has ${second!.byteLength} bytes and had`)
    using small = sealBytes(new Uint8Array(10), 'small')
    const shards = [first!, { ...second!, byteLength: 10 }]
    expect(await refused({ shards }, replace(2, small.descriptor))).toMatch(/^Directory describes shards of /)
    expect(await refused({ shards: [first!] }, descriptors.slice(0, 2))).toMatch(/^Directory describes shards of /)
  })

  it('refuses a directory with another fingerprint, and one that is none', async () => {
    expect(await refused({ fingerprint: 'f'.repeat(64) })).toBe('its directory has another fingerprint')
    for (const bytes of [new Uint8Array(0), new Uint8Array(1000), new Uint8Array(1003).fill(255)]) {
      using nonsense = sealBytes(bytes, 'nonsense')
      const fingerprint = createHash('sha256').update(bytes).digest('hex')
      expect(await refused({ fingerprint }, replace(0, nonsense.descriptor))).toMatch(/directory/i)
    }
  })

  it('refuses a directory that is right but for one byte anywhere, or takes it, and lives', async () => {
    using opened = await openCheckpoint(source)
    const directory = new Uint8Array(opened.directory)
    for (let at = 0; at < directory.byteLength; at += 3) {
      const bytes = directory.slice()
      bytes[at]! ^= 0xff
      using changed = sealBytes(bytes, 'changed')
      const fingerprint = createHash('sha256').update(bytes).digest('hex')
      try {
        const memory = takeBack({ ...offer, fingerprint }, replace(0, changed.descriptor))
        memory.checkpoint.close()
        memory.directory.close()
      } catch (error) {
        expect(error).toMatchObject({ code: 'RESUME_REFUSED' })
      }
    }
  })

  it.skipIf(spawnSync('python3', ['-c', 'import fcntl']).status !== 0)(
    'refuses a directory that is too large to be hashed while others wait, without reading it',
    async () => {
      const script = `import fcntl, os, sys
memory = os.memfd_create("huge", os.MFD_ALLOW_SEALING); os.ftruncate(memory, 1 << 36); fcntl.fcntl(memory, 1033, 15)
print(os.getpid(), memory, flush=True); sys.stdin.read()`
      const child = spawn('python3', ['-c', script])
      let output = ''
      child.stdout.on('data', (text) => {
        output += text
      })
      await until(() => output.includes('\n'))
      const [pid, number] = output.trim().split(' ')
      using descriptor = adoptDescriptor(openSync(`/proc/${pid}/fd/${number}`, 'r'))
      expect(await refused({}, replace(0, descriptor))).toBe(`its directory has ${2 ** 36} bytes`)
      child.kill()
    },
  )
})

describe('takeArenasBack()', () => {
  let version: Version
  let checkpoint: Checkpoint
  let arena: FileMapping

  const offer = { checkpoint: 'a', fingerprint: 'f', label: 'model', shards: [] }

  beforeEach(async () => {
    const source = await saveMatrices(join(temporaryFolder(), 'model'))
    checkpoint = await openCheckpoint(source)
    const directory = sealBytes(new Uint8Array(checkpoint.directory), 'directory')
    version = new Version('a', 1, checkpoint.fingerprint, 1)
    version.memory = { checkpoint, directory }
    using gatheredBy = await openCheckpoint(source)
    const { arenas, release } = await gatheredBy.holdArenas(columns(0, 16))
    arena = adoptFileMapping((arenas[0]!.memory as FileMapping).share())
    release()
    onTestFinished(() => {
      arena.close()
      version.unload()
    })
  })

  const wire = (memory: FileMapping) => ({ name: 'arena', byteLength: memory.byteLength })

  async function refused(memories: readonly FileMapping[], arenas = memories.map(wire)): Promise<string> {
    const descriptors = memories.map(({ descriptor }) => descriptor)
    const before = [readdirSync('/proc/self/fd').length, mappingCount()]
    const error = await refusal(() => takeArenasBack(version, { ...offer, arenas }, descriptors))
    expect(error).toMatchObject({ name: 'CoordinatorError', code: 'RESUME_REFUSED', checkpoint: 'a' })
    await collectUntil(() => readdirSync('/proc/self/fd').length <= before[0]! && mappingCount() <= before[1]!)
    expect(version.arenaBytes).toBe(0)
    return error.message.replace('Memory of checkpoint "a" is not taken back: ', '')
  }

  it('holds what is handed back, for whoever selects the same', async () => {
    const before = mappingCount()
    const taken = takeArenasBack(version, { ...offer, arenas: [wire(arena)] }, [arena.descriptor])
    expect(version.arenaBytes).toBe(arena.byteLength)
    const same = await checkpoint.holdArenas(columns(0, 16), { reserve: () => expect.fail('it was gathered again') })
    expect((same.arenas[0]!.memory as FileMapping).id).toBe(arena.id)
    taken.release()
    expect(version.arenaBytes).toBe(arena.byteLength)
    same.release()
    expect(version.arenaBytes).toBe(0)
    await collectUntil(() => mappingCount() <= before)
  })

  it('counts the same memory once that a client names twice', () => {
    const arenas = [wire(arena), wire(arena), wire(arena)]
    const taken = takeArenasBack(version, { ...offer, arenas }, Array(3).fill(arena.descriptor))
    expect(taken.arenas).toHaveLength(1)
    expect(version.arenaBytes).toBe(arena.byteLength)
    taken.release()
    expect(version.arenaBytes).toBe(0)
  })

  it('counts the same memory from several clients once, until the last of them gives it back', () => {
    const offers = [1, 2, 3].map(() => takeArenasBack(version, { ...offer, arenas: [wire(arena)] }, [arena.descriptor]))
    for (const held of offers) {
      expect(version.arenaBytes).toBe(arena.byteLength)
      held.release()
      held.release()
    }
    expect(version.arenaBytes).toBe(0)
  })

  it('takes nothing of a client that has no arenas, also for a version whose memory was given up', () => {
    const unloaded = new Version('a', 2, 'f', 1)
    const none = takeArenasBack(unloaded, { ...offer, arenas: [] }, [])
    expect(none.arenas).toEqual([])
    none.release()
  })

  it('refuses what is not sealed, of another length, or no arena, and keeps nothing of what came with it', async () => {
    const path = join(temporaryFolder(), 'file')
    writeFileSync(path, new Uint8Array(1000))
    using file = mapFile(path)
    using empty = sealBytes(new Uint8Array(0), 'empty')
    using nonsense = sealBytes(new Uint8Array(1000).fill(255), 'nonsense')
    using short = sealBytes(new Uint8Array(arena.buffer(0, arena.byteLength - 1)), 'short')
    expect(await refused([arena, file])).toBe('an arena is not sealed memory')
    expect(await refused([arena, empty])).toMatch(/./)
    expect(await refused([arena, nonsense])).toMatch(/header/i)
    expect(await refused([arena, short])).toMatch(/./)
    expect(await refused([arena], [{ name: 'arena', byteLength: 12 }])).toContain('and had 12')
  })

  it('refuses an arena that is right but for one byte of its header, or takes it, and lives', () => {
    const bytes = new Uint8Array(arena.buffer(0, arena.byteLength)).slice()
    const head = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true))
    for (let at = 0; at < head; at++) {
      const changed = bytes.slice()
      changed[at]! ^= 0x21
      using memory = sealBytes(changed, 'changed')
      try {
        takeArenasBack(version, { ...offer, arenas: [wire(memory)] }, [memory.descriptor]).release()
      } catch (error) {
        expect(error).toMatchObject({ code: 'RESUME_REFUSED' })
      }
    }
    expect(version.arenaBytes).toBe(0)
  })
})
