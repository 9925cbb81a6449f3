import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { type Descriptor, sealBytes } from '@onecopy/sharedarraybuffer-utils'
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { NO_ARENAS } from '../src/gather-selection.ts'
import { Ledger, memoryId } from '../src/ledger.ts'
import { Registry } from '../src/registry.ts'
import type { Lease, Version } from '../src/version.ts'
import { refusal, saveModel, temporaryFolder } from './support.ts'

describe('Ledger', () => {
  let path: string
  let source: string
  let registry: Registry

  beforeEach(async () => {
    path = join(temporaryFolder(), 'ledger')
    source = await saveModel(join(temporaryFolder(), 'model'))
    registry = new Registry(null)
    onTestFinished(() => registry.close())
  })

  function open(handBackMs = 60_000, told: Error[] = []): Ledger {
    const ledger = new Ledger(
      path,
      () => registry.versions(),
      handBackMs,
      (error) => told.push(error),
    )
    onTestFinished(() => ledger.close())
    return ledger
  }

  async function lease(name: string): Promise<{ lease: Lease; version: Version; descriptors: Descriptor[] }> {
    if (registry.entry(name) === undefined) await registry.publish(name, source, { backing: 'sealed' })
    const lease = await registry.acquire(name, null)
    const { directory, checkpoint } = lease.version.memory!
    return { lease, version: lease.version, descriptors: [directory.descriptor, ...checkpoint.descriptors()] }
  }

  it('has nothing and waits for nobody at a first start, and leaves no file when nothing went out', async () => {
    const ledger = open()
    const { lease: unsent, version } = await lease('a')
    expect(ledger.waitMs(version)).toBe(0)
    registry.release(unsent)
    ledger.close()
    expect(existsSync(path)).toBe(false)
  })

  it('stands in a file that its owner alone may read, from the moment that something went out', async () => {
    const ledger = open()
    const { version } = await lease('a')
    ledger.note(version, NO_ARENAS)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(readdirSync(join(path, '..'))).toEqual(['ledger'])
  })

  it.each(['crashed', 'closed'])(
    'knows what a coordinator that %s had given out, and waits for that alone',
    async (how) => {
      const first = open()
      const a = await lease('a')
      const b = await lease('b')
      first.note(a.version, NO_ARENAS)
      first.note(b.version, NO_ARENAS)
      registry.release(b.lease)
      if (how === 'closed') first.close()
      else {
        vi.useFakeTimers({ toFake: ['setTimeout'] })
        first.review()
        vi.advanceTimersByTime(60_000)
        vi.useRealTimers()
      }
      const next = open()
      expect(next.waitMs(a.version)).toBeGreaterThan(50_000)
      expect(next.waitMs(b.version)).toBe(0)
      expect(next.waitMs({ ...a.version, fingerprint: 'f' })).toBe(0)
      for (const { version, descriptors } of [a, b]) {
        expect(next.recognise(version, descriptors)).toMatchObject({ checkpoint: version.checkpoint, version: 1 })
      }
    },
  )

  it('waits for nobody once the time is up, nor does the one after it; both take what comes late', async () => {
    const { version, descriptors } = await lease('a')
    open().note(version, NO_ARENAS)
    const text = readFileSync(path, 'utf8')
    const holder = registry
    registry = new Registry(null)
    onTestFinished(() => holder.close())
    const next = open(0)
    expect(next.waitMs(version)).toBe(0)
    next.close()
    expect(readFileSync(path, 'utf8')).not.toBe(text)
    const afterThat = open()
    expect(afterThat.waitMs(version)).toBe(0)
    expect(afterThat.recognise({ checkpoint: 'a', fingerprint: version.fingerprint }, descriptors)).toBeDefined()
  })

  it('writes once for all leases on the same memory', async () => {
    const ledger = open()
    const { version } = await lease('a')
    ledger.note(version, NO_ARENAS)
    const { ino } = statSync(path)
    for (let i = 0; i < 100; i++) {
      registry.release((await lease('a')).lease)
      ledger.review()
      ledger.note(version, NO_ARENAS)
    }
    expect(statSync(path).ino).toBe(ino)
  })

  it('forgets the oldest of what nobody has a lease on', async () => {
    const ledger = open()
    const first = await lease('a0')
    for (let i = 0; i < 40; i++) {
      const { lease: one, version } = await lease(`a${i}`)
      ledger.note(version, NO_ARENAS)
      if (i > 0) registry.release(one)
    }
    ledger.close()
    const { records } = JSON.parse(readFileSync(path, 'utf8'))
    expect(records.map(({ checkpoint }: Version) => checkpoint)).toEqual([
      'a0',
      ...Array.from({ length: 32 }, (_, i) => `a${i + 8}`),
    ])
    expect(records[0].out).toBe(true)
    expect(first.version.leases.size).toBeGreaterThan(0)
  })

  async function left(): Promise<{ version: Version; descriptors: Descriptor[] }> {
    const ledger = open()
    const { version, descriptors } = await lease('a')
    ledger.note(version, NO_ARENAS)
    ledger.close()
    return { version, descriptors }
  }

  async function takesNothing(
    version: Version,
    descriptors: readonly Descriptor[],
    told: readonly Error[],
  ): Promise<void> {
    const late: Error[] = []
    const ledger = open(60_000, late)
    expect(late.map(({ message }) => message)).toEqual(told.map(({ message }) => expect.stringContaining(message)))
    expect(ledger.waitMs(version)).toBe(0)
    const error = await refusal(() => ledger.recognise(version, descriptors))
    expect(error).toMatchObject({ code: 'RESUME_REFUSED' })
    ledger.close()
  }

  it('takes nothing by a ledger of another boot, and says nothing of it: no memory outlives one', async () => {
    const { version, descriptors } = await left()
    const ledger = JSON.parse(readFileSync(path, 'utf8'))
    writeFileSync(path, JSON.stringify({ ...ledger, bootId: 'another' }))
    await takesNothing(version, descriptors, [])
  })

  it.each([
    ['', 'JSON'],
    ['{', 'JSON'],
    ['[]', 'it is no ledger'],
    ['{"format":1,"bootId":"BOOT","records":{}}', 'it has something else than records'],
    ['{"format":1,"bootId":"BOOT","records":[{"checkpoint":"a"}]}', 'it has something else than records'],
    [`{"format":1,"bootId":"BOOT","records":[null]}`, 'it has something else than records'],
  ])('takes nothing by a ledger that says %j, and says so once', async (text, reason) => {
    const { version, descriptors } = await left()
    const { bootId } = JSON.parse(readFileSync(path, 'utf8'))
    writeFileSync(path, text.replace('BOOT', bootId))
    await takesNothing(version, descriptors, [new Error(reason)])
  })

  it('takes nothing by a ledger that others may read or write, that is a link, a folder or huge', async () => {
    const { version, descriptors } = await left()
    const text = readFileSync(path)
    for (const mode of [0o660, 0o606, 0o644]) {
      writeFileSync(path, text)
      chmodSync(path, mode)
      const shown = `it has mode 0${mode.toString(8)}; it must have 0600`
      await takesNothing(version, descriptors, [new Error(shown)])
    }
    writeFileSync(path, ' '.repeat(17 * 2 ** 20), { mode: 0o600 })
    chmodSync(path, 0o600)
    await takesNothing(version, descriptors, [new Error('it has 17825792 bytes')])
    writeFileSync(`${path}.real`, text, { mode: 0o600 })
    symlinkSync(`${path}.real`, path)
    await takesNothing(version, descriptors, [new Error('ELOOP')])
  })

  it.skipIf(process.geteuid?.() !== 0)('takes nothing by a ledger of another user', async () => {
    const { version, descriptors } = await left()
    chownSync(path, 65534, 65534)
    await takesNothing(version, descriptors, [new Error('it belongs to user 65534, not to user 0')])
  })

  it('tells once that it cannot be written, and goes on', async () => {
    mkdirSync(join(path, 'folder'), { recursive: true })
    const told: Error[] = []
    const ledger = open(60_000, told)
    expect(told.splice(0)).toMatchObject([{ code: 'LEDGER_UNUSABLE' }])
    for (const name of ['a', 'b']) ledger.note((await lease(name)).version, NO_ARENAS)
    expect(told).toMatchObject([
      { code: 'LEDGER_UNUSABLE', path, message: expect.stringContaining('cannot be written') },
    ])
  })
})

describe('memoryId()', () => {
  it('is the same for the same memory, through any descriptor, and never for other memory with the same bytes', () => {
    using one = sealBytes(new Uint8Array(10), 'one')
    using two = sealBytes(new Uint8Array(10), 'one')
    expect(memoryId(one.descriptor)).toMatch(/^\d+:\d+:\d{19}:10$/)
    expect(memoryId(one.descriptor)).toBe(memoryId(one.descriptor))
    expect(memoryId(two.descriptor)).not.toBe(memoryId(one.descriptor))
  })
})
