import { setMaxListeners } from 'node:events'
import { renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CoordinatorError } from '@onecopy/protocol'
import { mappingCount } from '@onecopy/sharedarraybuffer-utils'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { HAS_ADDON } from '../../../test/has-addon.ts'
import { loadSource } from '../src/load-version.ts'
import { type Entry, Registry, type RegistryEvent } from '../src/registry.ts'
import type { Lease, Version } from '../src/version.ts'
import { collectUntil, modelBytes, refusal, saveModel, temporaryFolder, until } from './support.ts'

describe('Registry', () => {
  let folder: string
  let registry: Registry
  let events: string[]
  let mappingsBefore: number

  beforeEach(() => {
    folder = temporaryFolder()
    mappingsBefore = mappingCount()
    start(null)
  })

  afterEach(async () => {
    registry.close()
    await collectUntil(() => mappingCount() <= mappingsBefore)
  })

  function start(budgetBytes: number | null): void {
    registry = new Registry(budgetBytes)
    events = []
    registry.on('event', (event) => events.push(textOf(event)))
  }

  const model = (name: string, options?: Parameters<typeof saveModel>[1]): Promise<string> =>
    saveModel(join(folder, name), options)

  const entryOf = (name: string): Entry => registry.entry(name)!

  it('publish() makes a version that is ready and handed out', async () => {
    const source = await model('a')
    const version = await registry.publish('a', source)
    expect(version).toMatchObject({ number: 1, state: 'ready', byteLength: modelBytes(source), heldBytes: 0 })
    expect(version.memory?.checkpoint.tensor('t1').data[0]).toBe(2)
    const lease = await registry.acquire('a', null)
    expect(lease.version).toBe(version)
    expect(events).toEqual(['loaded a@1', 'published a@1'])
  })

  it('publish() of changed files puts a second version beside the first, which goes with its last lease', async () => {
    const source = await model('a')
    const first = await registry.publish('a', source, { backing: 'sealed' })
    const leases = [await registry.acquire('a', null), await registry.acquire('a', 1)]
    await saveModel(source, { fill: 7 })
    const second = await registry.publish('a', source, { backing: 'sealed' })
    expect(entryOf('a').versions).toEqual([first, second])
    expect([first.state, second.state]).toEqual(['releasing', 'ready'])
    expect(first.memory?.checkpoint.tensor('t0').data[0]).toBe(1)
    expect((await registry.acquire('a', null)).version).toBe(second)
    const old = await registry.acquire('a', 1)
    expect(registry.budget.heldBytes).toBe(2 * first.byteLength)
    for (const lease of [...leases, old]) {
      expect(first.memory).not.toBeNull()
      registry.release(lease)
      registry.release(lease)
    }
    expect(first.memory).toBeNull()
    expect(registry.budget.heldBytes).toBe(second.byteLength)
    expect(await refusal(registry.acquire('a', 1))).toMatchObject({ code: 'VERSION_UNKNOWN', candidates: ['2'] })
    expect(events.at(-1)).toBe('released a@1')
  })

  it('publish() of files that are here already gives the version that is here', async () => {
    const source = await model('a')
    const first = await registry.publish('a', source)
    expect(await registry.publish('a', source)).toBe(first)
    expect(entryOf('a').versions).toEqual([first])
  })

  it('publish() of an older version that somebody still holds makes it current again', async () => {
    const [one, two] = [await model('one'), await model('two', { fill: 9 })]
    const first = await registry.publish('a', one)
    const lease = await registry.acquire('a', null)
    const second = await registry.publish('a', two)
    expect(await registry.publish('a', one)).toBe(first)
    expect(entryOf('a')).toMatchObject({ current: first, versions: [first], source: one })
    expect(first.state).toBe('ready')
    expect(second.memory).toBeNull()
    registry.release(lease)
    expect(first.memory).not.toBeNull()
    expect((await registry.publish('a', two)).number).toBe(3)
  })

  it('publish() with another backing, or pinned for the first time, loads again', async () => {
    const source = await model('a')
    const file = await registry.publish('a', source)
    const sealed = await registry.publish('a', source, { backing: 'sealed' })
    expect(sealed).not.toBe(file)
    expect(sealed.memory?.checkpoint.backing).toBe('sealed')
    const unpinned = await registry.publish('a', source)
    const pinned = await registry.publish('a', source, { pinned: true })
    expect(pinned).not.toBe(unpinned)
    expect(pinned.heldBytes).toBe(pinned.byteLength)
    expect(await registry.publish('a', source)).toBe(pinned)
  })

  it('a publish that fails leaves everything as it was', async () => {
    const source = await model('a')
    const first = await registry.publish('a', source)
    const broken = await model('broken')
    writeFileSync(join(broken, 'model-00002-of-00002.safetensors'), 'no header')
    const error = await refusal(registry.publish('a', broken, { backing: 'sealed', pinned: true }))
    expect(error).toMatchObject({ code: 'LOAD_FAILED', checkpoint: 'a', causeCode: 'SAFETENSORS_HEADER_TOO_LARGE' })
    expect(error.message).toContain('Cannot load checkpoint "a": ')
    expect(entryOf('a')).toMatchObject({ current: first, versions: [first], source, backing: 'file', pinned: false })
    expect((await registry.acquire('a', null)).version).toBe(first)
    await refusal(registry.publish('new', broken))
    expect(registry.entry('new')).toBeUndefined()
    expect(events).toEqual(['loaded a@1', 'published a@1'])
  })

  it('publish() refuses more shards than a client can be handed, before anybody asks for them', async () => {
    const shard = (at: number): Buffer => {
      const header = JSON.stringify({ [`t${at}`]: { dtype: 'U8', shape: [1], data_offsets: [0, 1] } }).padEnd(64)
      return Buffer.from(`@\0\0\0\0\0\0\0${header}x`, 'latin1')
    }
    const source = Array.from({ length: 4096 }, (_, at) => {
      const path = join(folder, `${at}.safetensors`)
      writeFileSync(path, shard(at))
      return path
    })
    const error = await refusal(registry.publish('a', source, { load: 'on-demand' }))
    expect(error).toMatchObject({ code: 'LOAD_FAILED', checkpoint: 'a' })
    expect(error.message).toMatch(/4096 shards; at most 4095 can be handed out/)
    expect(registry.entry('a')).toBeUndefined()
    expect((await registry.publish('a', source.slice(1), { load: 'on-demand' })).number).toBe(1)
  })

  it('a publish that does not fit the budget leaves everything as it was', async () => {
    const source = await model('a')
    start(modelBytes(source) * 1.5)
    const first = await registry.publish('a', source, { backing: 'sealed' })
    const lease = await registry.acquire('a', null)
    const error = await refusal(registry.publish('a', await model('b', { fill: 3 }), { backing: 'sealed' }))
    expect(error.code).toBe('BUDGET_EXCEEDED')
    expect(error.holders).toMatchObject([{ checkpoint: 'a', version: 1, leases: 1 }])
    expect(entryOf('a').versions).toEqual([first])
    expect(registry.budget.heldBytes).toBe(first.byteLength)
    registry.release(lease)
  })

  it('publishes of one name at a time end in the one that began last, whichever is loaded first', async () => {
    const small = await model('small', { fill: 3 })
    const sources = [await model('large', { tensorBytes: 2 ** 22 }), small, await model('third', { fill: 5 })]
    const published = await Promise.all(sources.map((source) => registry.publish('a', source, { backing: 'sealed' })))
    expect(entryOf('a').current).toBe(published[2])
    expect(entryOf('a').versions).toEqual([published[2]])
    expect(new Set(published.map(({ number }) => number)).size).toBe(3)
    expect(entryOf('a').source).toBe(sources[2])
  })

  it('a publish that began earlier and ends later does not replace the newer one', async () => {
    const slow = await model('slow', { fill: 3 })
    const fast = await model('fast', { fill: 5 })
    // The first load keeps the queue busy; then the one with the higher priority goes first.
    const busy = registry.publish('other', await model('busy', { tensorBytes: 2 ** 24 }), { backing: 'sealed' })
    const early = registry.publish('a', slow, { backing: 'sealed', priority: 0 })
    const late = registry.publish('a', fast, { backing: 'sealed', priority: 9 })
    await Promise.all([busy, early, late])
    expect(entryOf('a').current).toBe(await late)
    expect(entryOf('a').versions).toEqual([await late])
    expect((await early).memory).toBeNull()
  })

  it('a publish that fails beside one that waits for memory does not take its place away', async () => {
    const source = await model('a')
    const waiting = registry.publish('a', source, { backing: 'sealed' }, () => 150)
    const broken = await model('broken', { fill: 3 })
    rmSync(join(broken, 'model-00002-of-00002.safetensors'))
    await refusal(registry.publish('a', broken, { backing: 'sealed' }))
    const version = await waiting
    expect(entryOf('a').current).toBe(version)
    expect((await registry.acquire('a', null)).version).toBe(version)
  })

  it('on demand, publish() validates and acquire() loads, once for all who ask at a time', async () => {
    const source = await model('a')
    const version = await registry.publish('a', source, { backing: 'sealed', load: 'on-demand' })
    expect(version).toMatchObject({ state: 'unloaded', memory: null, heldBytes: 0, byteLength: modelBytes(source) })
    const leases = await Promise.all(Array.from({ length: 20 }, () => registry.acquire('a', null)))
    expect(new Set(leases.map((lease) => lease.version))).toEqual(new Set([version]))
    expect(version).toMatchObject({ state: 'ready', heldBytes: version.byteLength })
    expect(version.leases.size).toBe(20)
    expect(new Set(leases.map(({ id }) => id)).size).toBe(20)
    expect(events).toEqual(['published a@1', 'loaded a@1'])
    await refusal(registry.publish('b', join(folder, 'none'), { load: 'on-demand' }))
  })

  it('memory that was given up is loaded again, with the same bytes and number', async () => {
    const [one, two] = [await model('one', { fill: 3 }), await model('two', { fill: 5 })]
    start(modelBytes(one) * 1.5)
    const first = await registry.publish('one', one, { backing: 'sealed' })
    const second = await registry.publish('two', two, { backing: 'sealed' })
    expect([first.state, first.memory, second.state]).toEqual(['unloaded', null, 'ready'])
    const lease = await registry.acquire('one', null)
    expect(lease.version).toBe(first)
    expect(first.memory?.checkpoint.tensor('t1').data[0]).toBe(4)
    expect([first.state, second.state]).toEqual(['ready', 'unloaded'])
    expect(await refusal(registry.acquire('two', null))).toMatchObject({ code: 'BUDGET_EXCEEDED' })
    expect(second.leases.size).toBe(0)
    registry.release(lease)
    expect((await registry.acquire('two', null)).version).toBe(second)
    const loads = ['loaded one@1', 'loaded two@1', 'loaded one@1', 'loaded two@1']
    expect(events.filter((event) => event.startsWith('loaded'))).toEqual(loads)
  })

  it('what is pinned is never given up, and file backing that is pinned counts', async () => {
    const source = await model('a')
    start(modelBytes(source) * 1.5)
    const version = await registry.publish('a', source, { pinned: true })
    expect(version.heldBytes).toBe(version.byteLength)
    const error = await refusal(registry.publish('b', await model('b'), { backing: 'sealed' }))
    expect(error.holders).toMatchObject([{ checkpoint: 'a', pinned: true, leases: 0 }])
    await registry.publish('c', await model('c'))
    registry.retire('a')
    expect((await registry.publish('b', join(folder, 'b'), { backing: 'sealed' })).state).toBe('ready')
  })

  it.runIf(HAS_ADDON)(
    'published at the same time, two that do not fit together do not evict each other on the way',
    async () => {
      const sources = [await model('one'), await model('two', { fill: 5 })]
      start(modelBytes(sources[0]!) * 1.5)
      const options = { backing: 'sealed', pinned: true } as const
      const settled = await Promise.allSettled(sources.map((source, at) => registry.publish(`m${at}`, source, options)))
      const [kept, refused] = settled[0]!.status === 'fulfilled' ? ['m0', 'm1'] : ['m1', 'm0']
      expect(settled.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
      expect(entryOf(kept).current?.memory).not.toBeNull()
      expect(registry.entry(refused)).toBeUndefined()
    },
  )

  it('files that changed since they were published are not loaded in their place', async () => {
    const source = await model('a')
    const version = await registry.publish('a', source, { load: 'on-demand' })
    const shard = join(source, 'model-00001-of-00002.safetensors')
    utimesSync(shard, 1, 1)
    const error = await refusal(registry.acquire('a', null))
    expect(error).toMatchObject({ code: 'LOAD_FAILED', version: 1 })
    expect(error.message).toContain('its files have changed since version 1 was published; publish it again')
    rmSync(shard)
    expect(await refusal(registry.acquire('a', null))).toMatchObject({ code: 'LOAD_FAILED' })
    expect(version).toMatchObject({ state: 'unloaded', memory: null })
    expect(version.leases.size).toBe(0)
    await saveModel(source)
    const next = await registry.publish('a', source)
    expect(next.number).toBe(2)
    expect(entryOf('a').versions).toEqual([next])
  })

  it('a version that is loaded while another one is published is loaded from its own files', async () => {
    const [one, two] = [await model('one', { fill: 3 }), await model('two', { fill: 5 })]
    const busy = registry.publish('busy', await model('busy', { tensorBytes: 2 ** 24 }), { backing: 'sealed' })
    const first = await registry.publish('a', one, { load: 'on-demand' })
    const waiting = registry.acquire('a', null)
    await registry.publish('a', two, { load: 'on-demand', backing: 'sealed' })
    const lease = await waiting
    expect(lease.version).toBe(first)
    expect(first.memory?.checkpoint.tensor('t0').data[0]).toBe(3)
    expect(first.memory?.checkpoint.backing).toBe('file')
    expect(first.state).toBe('releasing')
    registry.release(lease)
    expect(first.memory).toBeNull()
    await busy
  })

  it('retire() takes the name off and leaves what is held to its holders', async () => {
    const version = await registry.publish('a', await model('a'))
    const lease = await registry.acquire('a', null)
    registry.retire('a')
    expect(version.state).toBe('releasing')
    expect(version.memory).not.toBeNull()
    expect(await refusal(registry.acquire('a', null))).toMatchObject({ code: 'CHECKPOINT_UNKNOWN', checkpoint: 'a' })
    expect(await refusal(() => registry.retire('a'))).toMatchObject({ code: 'CHECKPOINT_UNKNOWN' })
    registry.release(lease)
    expect(version.memory).toBeNull()
    expect(registry.entry('a')).toBeUndefined()
    expect(events.slice(-2)).toEqual(['retired a', 'released a@1'])
  })

  it('a name that was retired can be published again while its old version is held', async () => {
    const source = await model('a')
    await registry.publish('a', source)
    const lease = await registry.acquire('a', null)
    registry.retire('a')
    await saveModel(source, { fill: 9 })
    expect((await registry.publish('a', source)).number).toBe(2)
    registry.release(lease)
    expect(entryOf('a').versions.map(({ number }) => number)).toEqual([2])
  })

  it('retire() gives up what is being published under the name, and a publish that began before does not undo it', async () => {
    const first = await registry.publish('a', await model('a'))
    const large = await model('large', { fill: 5, tensorBytes: 2 ** 25 })
    const publishing = refusal(registry.publish('a', large, { backing: 'sealed' }))
    await until(() => entryOf('a').versions.length === 2, 'the new version is being loaded')
    registry.retire('a')
    expect(await publishing).toMatchObject({ code: 'PUBLISH_CANCELLED', checkpoint: 'a' })
    expect(first.memory).toBeNull()
    expect(registry.entry('a')).toBeUndefined()
    const early = refusal(registry.publish('b', large, { backing: 'sealed' }))
    registry.retire('b')
    expect(await early).toMatchObject({ code: 'PUBLISH_CANCELLED' })
    await until(() => registry.budget.heldBytes === 0, 'nothing is reserved')
    expect(registry.loading).toBe(0)
    expect(events.filter((event) => event.startsWith('retired'))).toEqual(['retired a', 'retired b'])
  })

  it.runIf(HAS_ADDON)(
    'a publish whose signal is aborted publishes nothing and gives up its load, unless somebody else waits for it',
    async () => {
      const large = await model('large', { tensorBytes: 2 ** 25 })
      const stop = new AbortController()
      const alone = refusal(registry.publish('a', large, { backing: 'sealed', signal: stop.signal }))
      await until(() => registry.entry('a')?.versions.length === 1, 'it is being loaded')
      stop.abort(new RangeError('no more'))
      expect(await alone).toMatchObject({ message: 'no more' })
      expect(registry.entry('a')).toBeUndefined()
      expect(events).toEqual([])
      const again = new AbortController()
      const given = refusal(registry.publish('a', large, { backing: 'sealed', signal: again.signal }))
      await until(() => registry.entry('a')?.versions.length === 1, 'it is being loaded again')
      const other = registry.publish('a', large, { backing: 'sealed' })
      await until(() => entryOf('a').versions[0]!.publishes === 2, 'both wait for one version')
      again.abort()
      expect(await given).toMatchObject({ name: 'AbortError' })
      expect(await other).toMatchObject({ state: 'ready', memory: expect.anything() })
      expect(events).toEqual(['loaded a@2', 'published a@2'])
      expect(await refusal(registry.publish('a', large, { signal: AbortSignal.abort() }))).toMatchObject({
        name: 'AbortError',
      })
    },
  )

  it('a load that nobody waits for any more is given up', async () => {
    const large = await model('large', { tensorBytes: 2 ** 25 })
    const version = await registry.publish('a', large, { backing: 'sealed', load: 'on-demand' })
    const stop = new AbortController()
    const asking = refusal(registry.acquire('a', null, stop.signal))
    await until(() => registry.budget.heldBytes > 0, 'it is being loaded')
    stop.abort()
    expect(await asking).toMatchObject({ name: 'AbortError' })
    await until(() => registry.budget.heldBytes === 0, 'the load has ended')
    expect(version).toMatchObject({ memory: null, state: 'unloaded' })
    expect((await registry.acquire('a', null)).version.memory).not.toBeNull()
  })

  it('version numbers of a name go on after it was retired and forgotten', async () => {
    const source = await model('a')
    await registry.publish('a', source)
    registry.retire('a')
    expect(registry.entry('a')).toBeUndefined()
    expect((await registry.publish('a', source)).number).toBe(2)
    expect((await registry.publish('b', source)).number).toBe(1)
  })

  it('acquire() gives a version by its number as long as it is here, also of a name that was retired', async () => {
    const version = await registry.publish('a', await model('a'))
    const lease = await registry.acquire('a', null)
    registry.retire('a')
    expect((await registry.acquire('a', 1)).version).toBe(version)
    expect(await refusal(registry.acquire('a', 2))).toMatchObject({ code: 'VERSION_UNKNOWN', candidates: ['1'] })
    registry.release(lease)
  })

  it('a small load and one that only maps do not wait for a large one', async () => {
    const large = await model('large', { tensorBytes: 2 ** 28 })
    const small = await model('small', { fill: 5 })
    const order: string[] = []
    const note = (name: string) => (): void => void order.push(name)
    const loads = [
      registry.publish('large', large, { backing: 'sealed' }).then(note('large')),
      registry.publish('small', small, { backing: 'sealed' }).then(note('small')),
      registry.publish('mapped', small).then(note('mapped')),
    ]
    await Promise.all(loads)
    expect(order.at(-1)).toBe('large')
  })

  it('acquire() says what there is: unknown name, unknown version, still loading', async () => {
    await registry.publish('llama', await model('a'))
    const unknown = await refusal(registry.acquire('lama', null))
    expect(unknown).toMatchObject({ code: 'CHECKPOINT_UNKNOWN', candidates: ['llama'] })
    expect(unknown.message).toBe('The coordinator has no checkpoint "lama"; it has llama')
    const version = await refusal(registry.acquire('llama', 7))
    expect(version.message).toBe('Checkpoint "llama" has no version 7; it has 1')
    const publishing = registry.publish('big', await model('big', { tensorBytes: 2 ** 24 }), { backing: 'sealed' })
    await waitUntilKnown('big')
    expect(await refusal(registry.acquire('big', null))).toMatchObject({ code: 'VERSION_NOT_READY' })
    expect(await refusal(registry.acquire('big', 1))).toMatchObject({ code: 'VERSION_NOT_READY' })
    await publishing
  })

  async function waitUntilKnown(name: string): Promise<void> {
    while ((registry.entry(name)?.versions.length ?? 0) === 0) await new Promise(setImmediate)
  }

  it.each(['', ' a', '-a', '.a', 'a b', 'a\n', 'x'.repeat(201), 'a:b', '../a', '名'.repeat(67)])(
    'refuses the name %j',
    async (name) => {
      expect(await refusal(registry.publish(name, folder))).toMatchObject({ code: 'NAME_INVALID' })
    },
  )

  it.each(['a', 'Llama-3.1_8B/q4', 'ünï', '7b', 'x'.repeat(200), '名'.repeat(66)])(
    'takes the name %j',
    async (name) => {
      expect((await registry.publish(name, await model('a'), { load: 'on-demand' })).checkpoint).toBe(name)
    },
  )

  it('recover() keeps memory for its leases, under its number, and publish() takes it instead of reading', async () => {
    const source = await model('a')
    const { version, lease } = await recovered('a', source, 5)
    expect(version).toMatchObject({ number: 5, state: 'releasing', byteLength: modelBytes(source) })
    expect(await refusal(registry.acquire('a', null))).toMatchObject({ code: 'CHECKPOINT_UNKNOWN' })
    expect(await registry.publish('a', source, { backing: 'sealed' })).toBe(version)
    expect(version.state).toBe('ready')
    registry.release(lease)
    expect(version.memory).not.toBeNull()
    expect(events).toEqual(['recovered a@5', 'published a@5'])
    await saveModel(source, { fill: 9 })
    expect((await registry.publish('a', source)).number).toBe(6)
  })

  it('recover() of what nobody publishes goes with its last lease', async () => {
    const { version, lease } = await recovered('a', await model('a'), 1)
    registry.release(lease)
    expect(version.memory).toBeNull()
    expect(registry.entry('a')).toBeUndefined()
  })

  it('recover() gives a version another number when its own is taken', async () => {
    await registry.publish('a', await model('a'))
    const one = await recovered('a', await model('b', { fill: 9 }), 1)
    expect(one.version.number).toBe(2)
    await saveModel(join(folder, 'a'), { fill: 5 })
    expect((await registry.publish('a', join(folder, 'a'))).number).toBe(3)
  })

  it('recover() gives its memory to a version that waits for it', async () => {
    const source = await model('a')
    const version = await registry.publish('a', source, { backing: 'sealed', load: 'on-demand' })
    const back = await recovered('a', source, 7)
    expect(back.version).toBe(version)
    expect(version).toMatchObject({ number: 1, state: 'ready', heldBytes: version.byteLength })
    registry.release(back.lease)
    expect((await registry.acquire('a', null)).version).toBe(version)
    expect(events).toEqual(['published a@1', 'recovered a@1'])
  })

  it('recover() takes the memory that came late in the place of what was read meanwhile, when nobody holds that', async () => {
    const source = await model('a')
    const version = await registry.publish('a', source, { backing: 'sealed' })
    const read = version.memory!.directory
    const back = await recovered('a', source, 1)
    expect(back.version).toBe(version)
    expect(read.closed).toBe(true)
    expect(registry.budget.heldBytes).toBe(version.byteLength)
    expect(events.slice(2)).toEqual(['recovered a@1'])
  })

  it('recover() keeps both memories of a version while both are held, and then the one that still is', async () => {
    const source = await model('a')
    const version = await registry.publish('a', source, { backing: 'sealed' })
    const lease = await registry.acquire('a', null)
    const back = await recovered('a', source, 1)
    expect(back.version).not.toBe(version)
    expect(back.version).toMatchObject({ number: 1, state: 'releasing', fingerprint: version.fingerprint })
    expect(registry.budget.heldBytes).toBe(2 * version.byteLength)
    const kept = back.version.memory
    registry.release(lease)
    expect(version).toMatchObject({ memory: kept, state: 'ready', heldBytes: version.byteLength })
    expect(back.lease.version).toBe(version)
    expect([...version.leases]).toEqual([back.lease])
    expect(entryOf('a').versions).toEqual([version])
    expect(registry.budget.heldBytes).toBe(version.byteLength)
    registry.release(back.lease)
    expect(version.memory).toBe(kept)
  })

  it('recover() of a second memory goes with its leases, and leaves the version that is handed out', async () => {
    const source = await model('a')
    const version = await registry.publish('a', source, { backing: 'sealed' })
    const lease = await registry.acquire('a', null)
    const own = version.memory
    registry.release((await recovered('a', source, 1)).lease)
    expect(entryOf('a').versions).toEqual([version])
    expect(version).toMatchObject({ memory: own, state: 'ready' })
    registry.release(lease)
  })

  it('recover() gives its memory to a version that waits to be loaded, whatever becomes of its files', async () => {
    const source = await model('a')
    const copy = await loadSource(source, 'sealed', false, new AbortController().signal)
    const busy = registry.publish('busy', await model('busy', { tensorBytes: 2 ** 24 }), { backing: 'sealed' })
    await waitUntilKnown('busy')
    const publishing = registry.publish('a', source, { backing: 'sealed' })
    await waitUntilKnown('a')
    const staging = entryOf('a').versions[0]!
    rmSync(source, { recursive: true })
    const recorded = { checkpoint: 'a', version: 1, fingerprint: copy.checkpoint.fingerprint }
    expect(registry.recover(recorded, copy, staging.byteLength)).toBe(staging)
    const lease = registry.lease(staging)
    expect(await publishing).toBe(staging)
    expect(staging).toMatchObject({ memory: copy, state: 'ready' })
    registry.release(lease)
    await busy
  })

  it('publish() waits for memory to be handed back, and reads when the time is up', async () => {
    const source = await model('a')
    const publishing = registry.publish('a', source, { backing: 'sealed' }, () => 60_000)
    const other = registry.publish('b', source, { backing: 'sealed' }, () => 30)
    expect((await other).state).toBe('ready')
    const { version } = await recovered('a', source, 3)
    expect(await publishing).toBe(version)
    expect(events.filter((event) => event.startsWith('loaded'))).toEqual(['loaded b@1'])
  })

  it('a name whose recovered memory goes while publish() waits is published all the same', async () => {
    const source = await model('a')
    const publishing = registry.publish('a', source, { backing: 'sealed' }, () => 200)
    const { lease } = await recovered('a', await model('other', { fill: 9 }), 1)
    registry.release(lease)
    const version = await publishing
    expect(entryOf('a').current).toBe(version)
    expect((await registry.acquire('a', null)).version).toBe(version)
  })

  async function recovered(name: string, source: string, number: number): Promise<{ version: Version; lease: Lease }> {
    const memory = await loadSource(source, 'sealed', false, new AbortController().signal)
    const { fingerprint } = memory.checkpoint
    const version = registry.recover({ checkpoint: name, version: number, fingerprint }, memory, modelBytes(source))
    return { version, lease: registry.lease(version) }
  }

  it('close() gives everything up and ends what waits or is being loaded', async () => {
    const source = await model('a')
    await registry.publish('a', source, { backing: 'sealed' })
    const lease = await registry.acquire('a', null)
    const large = await model('large', { tensorBytes: 2 ** 25 })
    const onDemand = await registry.publish('later', source, { load: 'on-demand' })
    const loading = registry.publish('large', large, { backing: 'sealed' })
    await waitUntilKnown('large')
    const rest = [
      loading,
      registry.publish('queued', source, { backing: 'sealed' }),
      registry.publish('waiting', source, { backing: 'sealed' }, () => 60_000),
      registry.acquire('later', null),
    ].map((promise) => refusal(promise))
    registry.close()
    for (const each of rest) expect(await each).toMatchObject({ code: 'COORDINATOR_CLOSING' })
    expect([lease.version.memory, onDemand.memory]).toEqual([null, null])
    expect(await refusal(registry.publish('a', source))).toMatchObject({ code: 'COORDINATOR_CLOSING' })
    expect(await refusal(registry.acquire('a', null))).toMatchObject({ code: 'COORDINATOR_CLOSING' })
    registry.release(lease)
    expect([...registry.entries]).toEqual([])
  })

  it('the source of a version may move away once it is loaded', async () => {
    const source = await model('a')
    const version = await registry.publish('a', source)
    renameSync(source, join(folder, 'moved'))
    expect((await registry.acquire('a', null)).version).toBe(version)
  })
})

describe('Registry.until()', () => {
  const unknown = (): never => {
    throw new CoordinatorError('CHECKPOINT_UNKNOWN', 'not yet')
  }

  it('tries again with each event of the name, and with no event of another', async () => {
    const folder = temporaryFolder()
    const registry = new Registry(null)
    let tries = 0
    const attempt = (): number => (++tries < 3 ? unknown() : tries)
    const found = registry.until('a', attempt, 60_000, new AbortController().signal)
    const source = await saveModel(join(folder, 'model'))
    await registry.publish('b', source)
    expect(tries).toBe(1)
    await registry.publish('a', source)
    expect(await found).toBe(3)
    registry.close()
  })

  it('throws what the last attempt threw when the time is up, on abort, at the end, and what does not pass', async () => {
    const registry = new Registry(null)
    const stop = new AbortController()
    setMaxListeners(0, stop.signal)
    expect(await refusal(registry.until('a', unknown, 5, stop.signal))).toMatchObject({ code: 'CHECKPOINT_UNKNOWN' })
    const waiting = Array.from({ length: 200 }, () => refusal(registry.until('a', unknown, 2 ** 40, stop.signal)))
    stop.abort()
    for (const each of waiting) expect(await each).toMatchObject({ code: 'CHECKPOINT_UNKNOWN' })
    const { signal } = new AbortController()
    const fail = (): never => {
      throw new CoordinatorError('LOAD_FAILED', 'for good')
    }
    expect(await refusal(registry.until('a', fail, 60_000, signal))).toMatchObject({ code: 'LOAD_FAILED' })
    const last = refusal(registry.until('a', () => registry.acquire('a', null), 60_000, signal))
    registry.close()
    expect(await last).toMatchObject({ code: 'COORDINATOR_CLOSING' })
  })
})

function textOf(event: RegistryEvent): string {
  return event.type === 'retired'
    ? `retired ${event.checkpoint}`
    : `${event.type} ${event.version.checkpoint}@${event.version.number}`
}
