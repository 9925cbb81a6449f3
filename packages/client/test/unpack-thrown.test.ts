import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Checkpoint, CheckpointError, openCheckpoint, SafetensorsError } from '@onecopy/checkpoint'
import { ClientError, createWorkerPool, type WorkerPool } from '@onecopy/client'
import { CoordinatorError, ProtocolError } from '@onecopy/protocol'
import { SharedMemoryError } from '@onecopy/sharedarraybuffer-utils'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { unpackThrown } from '../src/unpack-thrown.ts'
import { refusal, saveModel } from './support.ts'

let folder: string
let checkpoint: Checkpoint
let pool: WorkerPool<string>

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'onecopy-thrown-'))
  checkpoint = await openCheckpoint(await saveModel(join(folder, 'model')))
  const filename = new URL('./tasks/throws.mjs', import.meta.url)
  pool = await createWorkerPool<string>({ checkpoint, filename, minThreads: 1, maxThreads: 1 })
})

afterAll(async () => {
  await pool.destroy()
  checkpoint.close()
  await rm(folder, { recursive: true })
})

/** What `run` rejects with; its thread must live on. */
async function thrown(what: string, name?: string): Promise<unknown> {
  const [thread] = pool.threads
  const outcome = await pool.run(what, name === undefined ? {} : { name }).then(
    (value) => ({ value }),
    (reason: unknown) => ({ reason }),
  )
  expect(pool.threads[0] === thread).toBe(true)
  if ('reason' in outcome) return outcome.reason
  return expect.fail(`${what}: nothing was thrown, but ${String(outcome.value)} returned`)
}

describe('run() of a pool rejects with what the task threw', () => {
  it.each([
    ['null', null],
    ['undefined', undefined],
    ['text', 'text'],
    ['zero', 0],
    ['object', { a: 1 }],
  ])('%s', async (what, expected) => {
    expect(await thrown(what)).toEqual(expected)
    expect(await thrown(what, 'rejectLater')).toEqual(expected)
  })

  it.each([
    ['function', 'the function named'],
    ['symbol', 'Symbol(mark)'],
    ['a proxy that cannot be read', 'something that cannot be read'],
  ])('%s, which cannot be sent, as a TypeError', async (what, text) => {
    const error = await thrown(what)
    expect(error).toBeInstanceOf(TypeError)
    expect((error as Error).message).toBe(`The task threw what cannot be sent between threads: ${text}`)
  })

  it.each([
    ['CheckpointError', CheckpointError, { code: 'TENSOR_NOT_FOUND', tensor: 't00', candidates: ['t0', 't1'] }],
    ['SafetensorsError', SafetensorsError, { tensor: 't', path: '/m', details: { found: 2n ** 60n } }],
    ['SharedMemoryError', SharedMemoryError, { code: 'LOCK_LIMIT', errno: 12, errnoName: 'ENOMEM' }],
    ['CoordinatorError', CoordinatorError, { code: 'BUDGET_EXCEEDED', holders: [], cause: new TypeError('why') }],
    ['ProtocolError', ProtocolError, { code: 'FRAME_TOO_LARGE', actual: 5, limit: 4 }],
  ])('%s as that class, with its fields', async (name, type, fields) => {
    const error = await thrown(name)
    expect(error).toBeInstanceOf(type)
    expect(error).toMatchObject({ name, ...fields })
    expect((error as Error).stack).toMatch(/throws\.mjs|tensor/)
    expect(String(error)).toMatch(new RegExp(`^${name}: `))
  })

  it('an error of a class of its own as one of the class above, with name, code, fields and causes', async () => {
    const error = (await thrown('a class of its own')) as Error & { seats: Map<string, bigint> }
    expect(error).toBeInstanceOf(RangeError)
    expect(error).toMatchObject({ name: 'LicenceError', message: 'no licence', code: 'NO_LICENCE' })
    expect(error.seats).toEqual(new Map([['left', 0n]]))
    expect(error.stack).toMatch(/throws\.mjs/)
    expect(error.cause).toBeInstanceOf(TypeError)
    expect(error.cause).toMatchObject({ message: 'why', cause: 'text' })
  })

  it("somebody else's error of the name of one of ours as an Error", async () => {
    const error = await thrown("somebody else's ClientError")
    expect(error).not.toBeInstanceOf(ClientError)
    expect(error).toMatchObject({ name: 'ClientError', code: 'HTTP_500' })
  })

  it('an AggregateError with its errors', async () => {
    const error = (await thrown('AggregateError')) as AggregateError
    expect(error).toBeInstanceOf(AggregateError)
    expect(error.errors).toEqual([new RangeError('one'), 2])
  })

  it('a DOMException as one', async () => {
    const error = await thrown('DOMException')
    expect(error).toBeInstanceOf(DOMException)
    expect(error).toMatchObject({ name: 'AbortError', message: 'enough', code: 20 })
  })

  it('errors of the system, and of another realm, with their fields', async () => {
    const system = { code: 'ENOENT', syscall: 'open', path: '/nonexistent/file', errno: -2 }
    expect(await thrown('an error of the system')).toMatchObject(system)
    const far = await thrown('an error of another realm')
    expect(far).toBeInstanceOf(TypeError)
    expect(far).toMatchObject({ message: 'far', code: 'FAR' })
  })

  it('an error without those fields that cannot be read or sent', async () => {
    const error = await thrown('a field that cannot be cloned')
    expect(error).toMatchObject({ message: 'odd', code: 'ODD', kept: [1] })
    expect(error).not.toHaveProperty('callback')
    expect(await thrown('a getter that throws')).toMatchObject({ name: 'Error', code: 'ODD' })
    const once = await thrown('a getter that throws the second time')
    expect(once).toMatchObject({ code: 'ODD', field: { once: 'once' } })
  })

  it('an error whose causes form a ring, or a chain without an end', async () => {
    const ring = (await thrown('a ring of causes')) as Error
    expect(ring).toMatchObject({ message: 'inner', cause: { message: 'outer' } })
    expect((ring.cause as Error).cause).toBe(ring)
    expect(await thrown('an endless chain of causes')).toMatchObject({ message: 'deep', cause: { message: 'deep' } })
  })

  it('a stack that overflows', async () => {
    expect(await thrown('', 'overflow')).toBeInstanceOf(RangeError)
  })
})

describe('run() of a pool rejects where the result cannot be sent', () => {
  it.each([
    ['a function', /could not be cloned/],
    ['an object with a function', /could not be cloned/],
    ['a symbol', /could not be cloned/],
    ['a getter that throws', /no value/],
  ])('%s', async (what, message) => {
    await expect(pool.run(what, { name: 'answer' })).rejects.toThrow(message)
    // piscina ends the thread; the next one serves.
    expect(await pool.run('nothing', { name: 'answer' })).toBe(undefined)
  })
})

describe.each(['throwInTimer', 'rejectUnhandled'])(
  'an error that ends the thread, by %s, is what its task rejects with',
  (name) => {
    it('as its class, with fields and causes', async () => {
      const error = await refusal(pool.run('CheckpointError', { name }))
      expect(error).toBeInstanceOf(CheckpointError)
      expect(error).toMatchObject({ code: 'TENSOR_NOT_FOUND', candidates: ['t0', 't1'] })
      const own = await refusal(pool.run('a class of its own', { name }))
      expect(own).toMatchObject({ name: 'LicenceError', code: 'NO_LICENCE', cause: { message: 'why', cause: 'text' } })
    })

    it('also where something of it cannot be sent', async () => {
      const error = await refusal(pool.run('a field that cannot be cloned', { name }))
      expect(error).toMatchObject({ message: 'odd', code: 'ODD', kept: [1] })
      await expect(pool.run('function', { name })).rejects.toThrow()
    })
  },
)

it('unpackThrown() gives back what no thread packed', () => {
  const error = new Error('worker exited with code: 7')
  for (const reason of [error, null, undefined, 'text', { 'onecopy:other': 1 }])
    expect(unpackThrown(reason)).toBe(reason)
})
