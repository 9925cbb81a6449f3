import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { closeSync, openSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { openCheckpoint } from '@onecopy/checkpoint'
import { connectUnix, listenUnix, mappingCount, sealBytes } from '@onecopy/sharedarraybuffer-utils'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { takeBack } from '../src/hand-back.ts'
import { collectUntil, refusal, saveModel, sealedOffer, temporaryFolder, until } from './support.ts'

describe('takeBack()', () => {
  let source: string
  let offer: Awaited<ReturnType<typeof sealedOffer>>['offer']
  let descriptors: readonly number[]

  beforeEach(async () => {
    source = await saveModel(join(temporaryFolder(), 'model'))
    const whole = await sealedOffer(source)
    onTestFinished(whole.close)
    offer = whole.offer
    descriptors = whole.descriptors
  })

  /** Nothing of a refused offer may stay open. */
  async function refused(changed: Partial<typeof offer>, given: readonly number[] = descriptors): Promise<string> {
    const before = [readdirSync('/proc/self/fd').length, mappingCount()]
    const error = await refusal(() => takeBack({ ...offer, ...changed }, given))
    expect(error).toMatchObject({ name: 'CoordinatorError', code: 'RESUME_REFUSED', checkpoint: 'a' })
    await collectUntil(() => readdirSync('/proc/self/fd').length <= before[0]! && mappingCount() <= before[1]!)
    return error.message.replace('Memory of checkpoint "a" is not taken back: ', '')
  }

  /** The offer with another descriptor in one place. */
  const replace = (at: number, descriptor: number): number[] => descriptors.with(at, descriptor)

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
    const others = [openSync(join(source, 'model-00001-of-00002.safetensors'), 'r'), openSync(folder, 'r'), listening]
    for (const descriptor of others) {
      expect(await refused({}, replace(1, descriptor))).toBe('a descriptor is not sealed memory')
      expect(await refused({}, replace(0, descriptor))).toBe('a descriptor is not sealed memory')
    }
    connectUnix(join(folder, 's')).close()
    for (const descriptor of others) closeSync(descriptor)
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
      const descriptor = openSync(`/proc/${pid}/fd/${number}`, 'r')
      expect(await refused({}, replace(0, descriptor))).toBe(`its directory has ${2 ** 36} bytes`)
      closeSync(descriptor)
      child.kill()
    },
  )
})
