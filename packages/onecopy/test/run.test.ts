import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { onecopy, type Running, startOnecopy, startServe, temporaryFolder } from './run-onecopy.ts'
import { saveTwoShards } from './small-checkpoints.ts'

const INDEX = fileURLToPath(new URL('../dist/index.js', import.meta.url))

/** Prints its process id, then every signal that it gets, and ends with the code 7 on SIGTERM. */
const LISTENER = `
  for (const signal of ['SIGINT', 'SIGHUP', 'SIGTERM']) process.on(signal, () => {
    console.log(signal)
    if (signal === 'SIGTERM') process.exit(7)
  })
  console.log('pid ' + process.pid)
  setInterval(() => {}, 1000)
`

const ATTACHER = `
  import { attach } from ${JSON.stringify(INDEX)}
  const checkpoint = await attach()
  console.log(checkpoint.names.join(), checkpoint.version)
`

describe.runIf(process.platform === 'linux')('run', () => {
  let model = ''
  let socket = ''

  beforeEach(async () => {
    const folder = temporaryFolder()
    model = join(folder, 'model')
    socket = join(folder, 'socket', 'onecopy.sock')
    await saveTwoShards(model)
  })

  function run(...args: readonly string[]) {
    return onecopy('run', '--socket', socket, ...args)
  }

  test('the program attaches to what its environment names', async () => {
    await startServe(socket, `first=${model}`, `second=${model}`)
    const node = [process.execPath, '--input-type=module', '-e', ATTACHER]
    expect(await run('--checkpoint', 'second', '--', ...node)).toMatchObject({
      code: 0,
      stdout: 'layers.10.weight,layers.2.bias 1\n',
      stderr: '',
    })
  })

  test('it gets its own arguments, the socket, and the only checkpoint there is', async () => {
    await startServe(socket, model)
    const script = 'echo "$ONECOPY_SOCKET $ONECOPY_CHECKPOINT $@"'
    const { stdout } = await run('sh', '-c', script, 'sh', '--socket', '--', '-x')
    expect(stdout).toBe(`${socket} model --socket -- -x\n`)
  })

  test('where there are several and none is named, the program chooses', async () => {
    await startServe(socket, model, `second=${model}`)
    const { stdout } = await run('--', 'sh', '-c', 'echo "<$ONECOPY_CHECKPOINT>"')
    expect(stdout).toBe('<>\n')
  })

  test('a checkpoint that the coordinator does not have is an error that names those it has', async () => {
    await startServe(socket, model, `second=${model}`)
    expect(await run('--checkpoint', 'third', '--', 'echo', 'started')).toEqual({
      code: 1,
      signal: null,
      stdout: '',
      stderr: 'onecopy: The coordinator has no checkpoint "third"; it has model, second (CHECKPOINT_UNKNOWN)\n',
    })
  })

  test.each([
    ['exit 0', 0],
    ['exit 42', 42],
    ['kill -TERM $$', 143],
    ['kill -KILL $$', 137],
  ])('a program that does "%s" gives the exit code %d', async (script, code) => {
    await startServe(socket, model)
    expect(await run('--', 'sh', '-c', script)).toMatchObject({ code, signal: null, stderr: '' })
  })

  test('a program that does not exist is the exit code 127, one that may not be started 126', async () => {
    await startServe(socket, model)
    const missing = await run('--', './no-such-program')
    expect(missing.code).toBe(127)
    expect(missing.stderr).toBe(
      'onecopy: Cannot start "./no-such-program": there is no such program (PROGRAM_NOT_STARTED)\n',
    )
    const forbidden = await run('--', join(model, 'model.safetensors.index.json'))
    expect(forbidden.code).toBe(126)
    expect(forbidden.stderr).toMatch(/^onecopy: Cannot start ".*": .*EACCES.* \(PROGRAM_NOT_STARTED\)\n$/)
  })

  test('signals are passed on, and the program decides what they mean', async () => {
    await startServe(socket, model)
    const running: Running = startOnecopy(['run', '--socket', socket, '--', process.execPath, '-e', LISTENER])
    const program = Number((await running.says(/^pid (\d+)$/m))[1])
    onTestFinished(() => killIfThere(program))
    for (const signal of ['SIGINT', 'SIGHUP'] as const) {
      running.child.kill(signal)
      await running.says(new RegExp(`^${signal}$`, 'm'))
    }
    running.child.kill('SIGTERM')
    expect(await running.outcome).toMatchObject({ code: 7, signal: null })
  })
})

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended.
  }
}
