import { spawn, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Checkpoint, openCheckpoint } from '@onecopy/checkpoint'
import { createWorkerPool, type WorkerPool, type WorkerPoolOptions } from '@onecopy/client'
import { describe, expect, it, onTestFinished } from 'vitest'
import { refusal, saveModel, temporaryFolder, until } from './support.ts'

/**
 * A script of children/ to its end; what goes wrong there is a crash of the process, or a process that stays.
 * @param args beside the checkpoint
 */
async function runChild(script: string, ...args: readonly string[]) {
  const folder = await saveModel(join(temporaryFolder(), 'model'))
  const path = fileURLToPath(new URL(`children/${script}`, import.meta.url))
  const child = spawn(process.execPath, [path, folder, ...args], { env: { ...process.env, NODE_OPTIONS: '' } })
  onTestFinished(() => void child.kill('SIGKILL'))
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  return new Promise<{ code: number | null; signal: string | null; output: string }>((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, output }))
  })
}

describe('Generation', () => {
  it.each([
    'at once',
    'after a task',
    'in require() of ESM',
    'by swap() and close()',
    'in an endless import',
    'in an import that waits for ever',
    'just after a signal',
    'by a signal, in an endless import',
  ])('threads end without a crash: %s', async (way) => {
    expect(await runChild('end-pool.mjs', way)).toEqual({ code: 0, signal: null, output: 'ended\n' })
  })

  it.each(['answers', 'throws', 'throws outside', 'exits', 'spins'])(
    'a task that is aborted just when its thread %s does not end the process',
    async (way) => {
      const output = '["AbortError","late","late"]\n'
      expect(await runChild('late-answers.mjs', way)).toEqual({ code: 0, signal: null, output })
    },
  )

  it.skipIf(spawnSync('prlimit', ['--version']).status !== 0)(
    'a thread that cannot be started for want of descriptors is an error that names the limit, and the next one is tried',
    async () => {
      const { output } = await runChild('no-descriptors.mjs')
      const { message, ...rest } = JSON.parse(output)
      expect(rest).toEqual({ code: 'THREAD_NOT_STARTED', cause: 'ERR_WORKER_INIT_FAILED', later: 'ran' })
      expect(message).toMatch(
        /^A thread of the pool cannot be started: this process may have 100 files open .*ulimit -n/,
      )
    },
  )

  it('a server lives on, whenever its clients hang up', async () => {
    const output = '{"sum":1000,"last":64,"some":true}\n'
    expect(await runChild('abort-server.mjs', '1000', '1')).toEqual({ code: 0, signal: null, output })
  })
})

describe('tasks that wait when the last thread goes', () => {
  let checkpoint: Checkpoint

  async function start(module: string, options: Partial<WorkerPoolOptions> = {}): Promise<WorkerPool> {
    checkpoint = await openCheckpoint(await saveModel(join(temporaryFolder(), 'model')))
    const filename = new URL(`tasks/${module}`, import.meta.url)
    const pool = await createWorkerPool({ checkpoint, filename, minThreads: 0, maxThreads: 1, ...options })
    onTestFinished(async () => {
      await pool.destroy()
      checkpoint.close()
    })
    return pool
  }

  it('by a signal, run in another', async () => {
    const pool = await start('gated.mjs', { maxQueue: 2 })
    const gate = new Int32Array(new SharedArrayBuffer(4))
    const controller = new AbortController()
    const running = refusal(pool.run({ gate, way: 'spins' }, { signal: controller.signal }))
    await until(() => gate[0] === 1, 'the task runs')
    // As many as may wait; one of them could itself be aborted.
    const { signal } = new AbortController()
    const waiting = [pool.run({ gate, way: 'answers' }), pool.run({ gate, way: 'answers' }, { signal })]
    controller.abort('enough')
    expect(await running).toMatchObject({ name: 'AbortError', code: 'ABORT_ERR', cause: 'enough' })
    expect(await Promise.all(waiting)).toEqual(['late', 'late'])
    expect(gate[0]).toBe(3)
  })

  it('by process.exit() of a task, run in another', async () => {
    const pool = await start('gated.mjs')
    const gate = new Int32Array(new SharedArrayBuffer(4))
    const running = refusal(pool.run({ gate, way: 'exits' }))
    const waiting = pool.run({ gate, way: 'answers' })
    expect((await running).message).toBe('worker exited with code: 3')
    expect(await waiting).toBe('late')
  })

  it('and are aborted, never run', async () => {
    const pool = await start('gated.mjs')
    const gate = new Int32Array(new SharedArrayBuffer(4))
    const begun = new Int32Array(new SharedArrayBuffer(4))
    const running = new AbortController()
    const waiting = new AbortController()
    const ended = [
      refusal(pool.run({ gate, way: 'spins' }, { signal: running.signal })),
      refusal(pool.run({ gate: begun, way: 'answers' }, { signal: waiting.signal })),
    ]
    await until(() => gate[0] === 1, 'the task runs')
    waiting.abort()
    running.abort()
    for (const error of await Promise.all(ended)) expect(error).toMatchObject({ name: 'AbortError' })
    expect(await pool.run({ gate, way: 'answers' })).toBe('late')
    expect(begun[0]).toBe(0)
  })

  it('a signal that was aborted before rejects without a thread', async () => {
    const pool = await start('gated.mjs')
    const error = await refusal(pool.run({}, { signal: AbortSignal.abort('no') }))
    expect(error).toMatchObject({ name: 'AbortError', cause: 'no' })
    expect(pool.threads).toEqual([])
  })

  it('end with close({ timeoutMs }) when they take longer', async () => {
    const pool = await start('gated.mjs')
    const gate = new Int32Array(new SharedArrayBuffer(4))
    const ended = [pool.run({ gate, way: 'spins' }), pool.run({ gate, way: 'answers' })].map(refusal)
    await until(() => gate[0] === 1, 'the task runs')
    await pool.close({ timeoutMs: 20 })
    for (const error of await Promise.all(ended)) expect(error.message).toBe('Terminating worker thread')
    expect(pool.checkpoint.closed).toBe(true)
    expect(gate[0]).toBe(1)
  })

  it('close({ timeoutMs }) waits no longer than the tasks take', async () => {
    const pool = await start('gated.mjs')
    const gate = new Int32Array(new SharedArrayBuffer(4))
    const ended = Promise.all([pool.run({ gate, way: 'answers' }), pool.run({ gate, way: 'answers' })])
    await pool.close({ timeoutMs: 2 ** 31 - 1 })
    expect(await ended).toEqual(['late', 'late'])
  })
})

it('an error of a thread that nobody waits for is told as an event', async () => {
  using checkpoint = await openCheckpoint(await saveModel(join(temporaryFolder(), 'model')))
  const filename = new URL('tasks/gated.mjs', import.meta.url)
  // An idle thread whose event loop goes on.
  const pool = await createWorkerPool({ checkpoint, filename, maxThreads: 1, atomics: 'disabled' })
  onTestFinished(() => pool.destroy())
  const told = new Promise((resolve) => pool.once('error', resolve))
  await pool.run(null, { name: 'throwLater' })
  expect(await told).toMatchObject({ message: 'late', code: 'LATE' })
})
