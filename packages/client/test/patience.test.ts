import { join } from 'node:path'
import { attach, coordinatorHealth, coordinatorStatus, publishTo, retireFrom } from '@onecopy/client'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { leasesOf, Program, refusal, saveModel, statusWhere, temporaryFolder, until } from './support.ts'

let folder: string
let socket: string
let model: string
let coordinator: Program

beforeEach(async () => {
  folder = temporaryFolder()
  socket = join(folder, 's', 'socket')
  model = await saveModel(join(folder, 'model'))
})

async function start(): Promise<void> {
  coordinator = await Program.start('coordinator.mjs', socket)
}

function freeze(): void {
  process.kill(coordinator.pid, 'SIGSTOP')
  onTestFinished(() => thaw())
}

function thaw(): void {
  try {
    process.kill(coordinator.pid, 'SIGCONT')
  } catch {
    // It has ended.
  }
}

describe('a coordinator that is frozen', () => {
  beforeEach(async () => {
    await start()
    await coordinator.ask('publish', 'a', model)
  })

  it('is an error for whoever attaches over a connection that is there, and what it grants later is given back', async () => {
    const checkpoint = await attach({ socket, checkpoint: 'a' })
    freeze()
    expect(await refusal(attach({ socket, checkpoint: 'a', timeoutMs: 50 }))).toMatchObject({
      code: 'COORDINATOR_TIMEOUT',
    })
    expect(await refusal(checkpoint.followLatest({ timeoutMs: 50 }))).toMatchObject({ code: 'COORDINATOR_TIMEOUT' })
    const part = { tensors: [{ name: 't0', ranges: [[0, 9] as const] }] }
    expect(await refusal(checkpoint.select(part, { timeoutMs: 50 }))).toMatchObject({ code: 'COORDINATOR_TIMEOUT' })
    expect(checkpoint.tensor('t0').data[0]).toBe(1)
    thaw()
    expect(leasesOf(await statusWhere(coordinator, (status) => leasesOf(status).length === 1))).toEqual(['a@1'])
    ;(await attach({ socket, checkpoint: 'a' })).close()
    await statusWhere(coordinator, (status) => leasesOf(status).length === 1)
    checkpoint.close()
    await statusWhere(coordinator, (status) => leasesOf(status).length === 0)
  })

  const questions = {
    'publishTo()': (options) => publishTo('b', model, options),
    'retireFrom()': (options) => retireFrom('a', options),
    'coordinatorStatus()': (options) => coordinatorStatus(options),
    'coordinatorHealth()': (options) => coordinatorHealth(options),
    'attach() over a new connection': (options) => attach({ ...options, checkpoint: 'a' }),
  } satisfies Record<
    string,
    (options: { socket: string; timeoutMs?: number; signal?: AbortSignal }) => Promise<unknown>
  >

  it.each(Object.entries(questions))('is an error for %s, and so is a signal', async (_, ask) => {
    freeze()
    expect(await refusal(ask({ socket, timeoutMs: 50 }))).toMatchObject({ code: 'COORDINATOR_TIMEOUT' })
    const stop = new AbortController()
    const asking = refusal(ask({ socket, signal: stop.signal }))
    stop.abort(new RangeError('no more'))
    expect(await asking).toMatchObject({ message: 'no more' })
    expect(await refusal(ask({ socket, signal: stop.signal }))).toMatchObject({ message: 'no more' })
  })
})

describe('attach({ waitMs })', () => {
  it('waits for a socket that is not there yet, and for the checkpoint after that', async () => {
    const waiting = attach({ socket, checkpoint: 'a', waitMs: 60_000 })
    await start()
    await coordinator.ask('publish', 'a', model)
    using checkpoint = await waiting
    expect(checkpoint.version).toBe(1)
  })

  it('goes on waiting when the coordinator dies meanwhile', async () => {
    await start()
    const waiting = attach({ socket, checkpoint: 'a', waitMs: 60_000 })
    await statusWhere(coordinator, ({ clients }) => clients.length === 1)
    await coordinator.kill()
    await start()
    await coordinator.ask('publish', 'a', model)
    ;(await waiting).close()
  })

  it('says that there is no coordinator when the time is up, and ends with its signal', async () => {
    expect(await refusal(attach({ socket, checkpoint: 'a', waitMs: 20 }))).toMatchObject({
      code: 'COORDINATOR_UNREACHABLE',
    })
    const stop = new AbortController()
    const waiting = refusal(attach({ socket, checkpoint: 'a', waitMs: 60_000, signal: stop.signal }))
    stop.abort(new RangeError('no more'))
    expect(await waiting).toMatchObject({ message: 'no more' })
  })
})

describe('followLatest()', () => {
  it('waits for a coordinator that has restarted to publish the name again', async () => {
    await start()
    await coordinator.ask('publish', 'a', model)
    using checkpoint = await attach({ socket, checkpoint: 'a' })
    await coordinator.kill()
    const following = checkpoint.followLatest()
    await start()
    const changed = await saveModel(join(folder, 'changed'), 9)
    await coordinator.ask('publish', 'a', changed)
    using latest = await following
    expect(latest.tensor('t0').data[0]).toBe(9)
  })

  it('gives what is held when the name was retired, and select() works on', async () => {
    await start()
    await coordinator.ask('publish', 'a', model, { backing: 'sealed' })
    using checkpoint = await attach({ socket, checkpoint: 'a' })
    await coordinator.ask('retire', 'a')
    expect(await checkpoint.followLatest()).toBe(checkpoint)
    using part = await checkpoint.select({ tensors: [{ name: 't0', ranges: [[0, 9]] }] })
    expect(part.tensor('t0').data).toEqual(new Uint8Array(9).fill(1))
  })
})

describe('publishTo() that is given up', () => {
  it('publishes nothing, and the coordinator gives the load up', async () => {
    await start()
    const large = await saveModel(join(folder, 'large'), 1, 2 ** 26)
    const stop = new AbortController()
    const publishing = refusal(publishTo('large', large, { socket, backing: 'sealed', signal: stop.signal }))
    await statusWhere(coordinator, ({ heldBytes }) => heldBytes > 0)
    stop.abort()
    expect(await publishing).toMatchObject({ name: 'AbortError' })
    const status = await statusWhere(coordinator, ({ heldBytes, loading }) => heldBytes === 0 && loading === 0)
    expect(status.checkpoints).toEqual([])
  })
})

describe('coordinatorHealth()', () => {
  it('says ready, or loading and how many, with process and software', async () => {
    await start()
    const facts = { pid: coordinator.pid, protocol: 1, software: expect.stringMatching(/^onecopy \d/) }
    expect(await coordinatorHealth({ socket })).toMatchObject({ state: 'ready', loading: 0, ...facts })
    const large = await saveModel(join(folder, 'large'), 1, 2 ** 26)
    const stop = new AbortController()
    const publishing = refusal(publishTo('large', large, { socket, backing: 'sealed', signal: stop.signal }))
    await until(async () => (await coordinatorHealth({ socket })).state === 'loading')
    stop.abort()
    await publishing
    await until(async () => (await coordinatorHealth({ socket })).state === 'ready')
  })
})

describe('options that are wrong', () => {
  type Ask = (options: object) => Promise<unknown>
  const functions: Record<string, Ask> = {
    'attach()': (options) => attach({ socket, checkpoint: 'a', ...options }),
    'publishTo()': (options) => publishTo('a', model, { socket, ...options }),
    'retireFrom()': (options) => retireFrom('a', { socket, ...options }),
    'coordinatorStatus()': (options) => coordinatorStatus({ socket, ...options }),
    'coordinatorHealth()': (options) => coordinatorHealth({ socket, ...options }),
  }
  const all: readonly [object, ErrorConstructor, RegExp][] = [
    [{ timeoutMS: 5 }, TypeError, /has no option "timeoutMS"/],
    [{ timeoutMs: '5' }, TypeError, /option timeoutMs of .* is "5"; it must be a whole number/],
    [{ timeoutMs: 0 }, RangeError, /option timeoutMs/],
    [{ timeoutMs: Number.NaN }, RangeError, /option timeoutMs/],
    [{ signal: true }, TypeError, /option signal .* must be an AbortSignal/],
    [{ socket: 7 }, TypeError, /option socket/],
    [{ name: {} }, TypeError, /option name/],
  ]
  const own: Record<string, readonly [object, ErrorConstructor, RegExp][]> = {
    'attach()': [
      [{ checkpoint: 1 }, TypeError, /option checkpoint/],
      [{ version: 'latest' }, TypeError, /option version/],
      [{ version: -1 }, RangeError, /option version/],
      [{ waitMs: Number.POSITIVE_INFINITY }, RangeError, /option waitMs/],
      [{ selection: [] }, TypeError, /option selection/],
    ],
    'publishTo()': [
      [{ backing: 'heap' }, RangeError, /option backing .* must be one of file, sealed/],
      [{ pinned: 1 }, TypeError, /option pinned/],
      [{ load: 'later' }, RangeError, /option load/],
      [{ priority: 1.5 }, RangeError, /option priority/],
    ],
    'coordinatorStatus()': [[{ residency: 'yes' }, TypeError, /option residency/]],
  }
  const cases = Object.keys(functions).flatMap((name) =>
    [...all, ...(own[name] ?? [])].map((each) => [name, ...each] as const),
  )

  it.each(cases)('%s refuses %j', async (name, options, kind, text) => {
    const error = await refusal(functions[name]!(options))
    expect(error).toBeInstanceOf(kind)
    expect(error.message).toMatch(text)
    expect(error.message).toContain(name)
  })

  it.each(['attach()', 'retireFrom()', 'publishTo()'])(
    '%s refuses names that nothing can be published under',
    async (name) => {
      const ask = {
        'attach()': (text: string) => attach({ socket, checkpoint: text }),
        'retireFrom()': (text: string) => retireFrom(text, { socket }),
        'publishTo()': (text: string) => publishTo(text, model, { socket }),
      }[name]!
      for (const bad of ['', '../x', '名'.repeat(100), '\ud800']) {
        expect(await refusal(ask(bad))).toMatchObject({ code: 'NAME_INVALID' })
      }
    },
  )

  it('sources and names of other types are refused', async () => {
    expect(await refusal(publishTo('a', 7 as never))).toBeInstanceOf(TypeError)
    expect(await refusal(publishTo('a', [7] as never))).toBeInstanceOf(TypeError)
    expect(await refusal(publishTo(7 as never, model))).toBeInstanceOf(TypeError)
    expect(await refusal(retireFrom(undefined as never))).toBeInstanceOf(TypeError)
    expect(await refusal(attach('a' as never))).toBeInstanceOf(TypeError)
  })
})
