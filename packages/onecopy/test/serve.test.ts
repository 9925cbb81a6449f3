import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { HAS_ADDON } from '../../../test/has-addon.ts'
import { until } from '../../../test/until.ts'
import { shellWord } from '../src/terminal/shell-word.ts'
import { MAIN, onecopy, startOnecopy, startServe, temporaryFolder } from './run-onecopy.ts'
import { saveTwoShards, writeNames } from './small-checkpoints.ts'

const hasPseudoTerminals = spawnSync('script', ['--version']).status === 0

/** A folder with a checkpoint `model`, another one `other`, and room for a socket. */
async function prepare() {
  const folder = temporaryFolder()
  const model = join(folder, 'model')
  await saveTwoShards(model)
  const other = join(folder, 'other')
  mkdirSync(other)
  writeNames(other, ['a', 'b'])
  return { folder, model, other, socket: join(folder, 'socket', 'onecopy.sock') }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

async function statusOf(socket: string) {
  const { code, stdout, stderr } = await onecopy('status', '--socket', socket, '--json')
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return JSON.parse(stdout)
}

describe.runIf(HAS_ADDON)('serve', () => {
  test('lets in whom its options let in, and says when a folder is in their way', async () => {
    const { folder, model, socket } = await prepare()
    const ids = ['--allow-uid', '4711', '--allow-gid', '4712', '--publishers', '4713', '--publisher-group', '4714']
    const more = ['--max-clients', '20', '--hand-back-ms', '0']
    chmodSync(folder, 0o700)
    const refused = await onecopy('serve', model, '--socket', socket, ...ids)
    expect(refused.code).toBe(1)
    expect(refused.stderr.replace(/\s+/g, ' ')).toMatch(/Folder ".*" keeps out user 4713, who may use the socket/)
    expect(existsSync(socket)).toBe(false)
    await startServe(socket, model, ...more)
    expect(statSync(socket).mode & 0o777).toBe(0o600)
  })

  test('publishes, is seen by status, takes a new version, retires it, and stops with exit code 0', async () => {
    const { model, other, socket } = await prepare()
    const serve = await startServe(socket, `first=${model}`, other, '--backing', 'sealed', '--budget', '1GiB')
    expect((await serve.says(/^first@1 .*/m))[0]).toMatch(/^first@1 {2}[\d.]+ B, 2 tensors {2}sealed {2}ready in /)
    expect((await serve.says(/^other@1 .*/m))[0]).toContain('2 tensors')
    await serve.says(/await attach\({ socket: '.*onecopy\.sock', checkpoint: 'first' }\)/)
    await serve.says(/onecopy run --socket \S+ --checkpoint first -- node server\.js$/m)

    const shown = await onecopy('status', '--socket', socket)
    expect(shown.code).toBe(0)
    expect(shown.stdout).toContain(`process ${serve.child.pid}, since `)
    expect(shown.stdout).toMatch(/held, a budget of 1\.00 GiB$/m)
    expect(shown.stdout).toMatch(/^first +1 +sealed .* ready +\S+\/model$/m)
    expect(shown.stdout).toMatch(/^no clients$/m)

    const published = await onecopy('publish', 'first', other, '--socket', socket, '--pin', '--backing', 'sealed')
    expect(published).toMatchObject({ code: 0, stderr: '' })
    expect(published.stdout).toMatch(/^first@2 {2}[\d.]+ B {2}sealed, pinned {2}ready in /)
    const [first, second] = (await statusOf(socket)).checkpoints
    expect(first).toMatchObject({ name: 'first', pinned: true, source: other, versions: [{ version: 2 }] })
    expect(second).toMatchObject({ name: 'other', pinned: false, versions: [{ version: 1, state: 'ready' }] })

    const lazy = await onecopy('publish', 'lazy', model, '--socket', socket, '--on-demand')
    expect(lazy.stdout).toMatch(/^lazy@1 .* validated in /)
    expect((await statusOf(socket)).checkpoints[2]).toMatchObject({ versions: [{ state: 'unloaded' }] })

    expect(await onecopy('retire', 'first', '--socket', socket)).toMatchObject({ code: 0, stderr: '' })
    expect(await onecopy('retire', 'first', '--socket', socket)).toMatchObject({
      code: 1,
      stderr: 'onecopy: The coordinator has no checkpoint "first"; it has other, lazy (CHECKPOINT_UNKNOWN)\n',
    })

    serve.child.kill('SIGTERM')
    const { code, signal, stderr } = await serve.outcome
    expect({ code, signal }).toEqual({ code: 0, signal: null })
    expect(existsSync(socket)).toBe(false)
    for (const line of stderr.trim().split('\n')) expect(line).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z \S/)
    for (const event of ['published first@2: ', 'released first@1: ', 'retired first: ', 'SIGTERM: stopping']) {
      expect(stderr).toContain(event)
    }
    expect(stderr).not.toContain('onecopy status')
  })

  test('SIGINT ends it too, and --quiet logs nothing', async () => {
    const { model, socket } = await prepare()
    const { child, outcome } = await startServe(socket, model, '--quiet')
    child.kill('SIGINT')
    expect(await outcome).toMatchObject({ code: 0, stderr: '' })
    expect(existsSync(socket)).toBe(false)
  })

  test('a second one on the same socket is refused, and the first goes on', async () => {
    const { model, socket } = await prepare()
    await startServe(socket, model)
    const { code, stdout, stderr } = await onecopy('serve', model, '--socket', socket)
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toBe(`onecopy: Another coordinator serves "${socket}" (COORDINATOR_RUNNING)\n`)
    expect((await statusOf(socket)).checkpoints).toHaveLength(1)
  })

  test('after kill -9 the next one takes the socket over', async () => {
    const { model, socket } = await prepare()
    const first = await startServe(socket, model)
    first.child.kill('SIGKILL')
    await first.outcome
    expect(existsSync(socket)).toBe(true)
    const refused = await onecopy('status', '--socket', socket)
    expect(refused.code).toBe(1)
    expect(refused.stderr).toMatch(
      /^onecopy: No coordinator at ".*": nobody listens any more; .* \(COORDINATOR_UNREACHABLE\)\n$/,
    )
    const second = await startServe(socket, model)
    expect((await statusOf(socket)).pid).toBe(second.child.pid)
  })

  test('a checkpoint that cannot be loaded does not keep others away, and is told of', async () => {
    const { folder, model, socket } = await prepare()
    const broken = join(folder, 'broken.safetensors')
    writeFileSync(broken, 'no such thing')
    const serve = await startServe(socket, broken, model, '--quiet')
    await serve.says(/checkpoint: 'model'/)
    const { checkpoints } = await statusOf(socket)
    expect(checkpoints).toMatchObject([{ name: 'model', versions: [{ state: 'ready' }] }])
    serve.child.kill('SIGTERM')
    const { code, stderr } = await serve.outcome
    expect(code).toBe(0)
    expect(stderr).toMatch(/^\S+ not served: broken: Cannot load checkpoint "broken": .* \(LOAD_FAILED\)\n/)
  })

  test('status --health says that it is ready, and --residency what is in RAM', async () => {
    const { model, socket } = await prepare()
    const serve = await startServe(socket, model, '--backing', 'sealed')
    await serve.says(/checkpoint: 'model'/)
    const health = await onecopy('status', '--socket', socket, '--health')
    expect(health).toMatchObject({ code: 0, stderr: '' })
    expect(health.stdout).toMatch(new RegExp(`^ready: process ${serve.child.pid}, onecopy \\d\\S+\n$`))
    const json = JSON.parse((await onecopy('status', '--socket', socket, '--health', '--json')).stdout)
    expect(json).toMatchObject({ state: 'ready', loading: 0, pid: serve.child.pid })
    expect((await onecopy('status', '--socket', socket)).stdout).not.toContain('in RAM')
    expect((await onecopy('status', '--socket', socket, '--residency')).stdout).toContain('in RAM')
  })

  test('with nothing that can be served it ends with an error', async () => {
    const { folder, socket } = await prepare()
    const { code, stderr } = await onecopy('serve', join(folder, 'none'), join(folder, 'neither'), '--socket', socket)
    expect(code).toBe(1)
    const lines = stderr.split('\n').map((line) => line.replace(/^\S+ /, '').slice(0, 25))
    expect(lines).toEqual(
      expect.arrayContaining(['not served: none: Cannot ', 'not served: neither: Cann', 'Cannot load checkpoint "n']),
    )
  })

  test('with --strict, a checkpoint that cannot be loaded is an error, and nothing stays behind', async () => {
    const { folder, model, socket } = await prepare()
    const broken = join(folder, 'broken.safetensors')
    writeFileSync(broken, 'no such thing')
    const { code, stdout, stderr } = await onecopy('serve', model, broken, '--strict', '--socket', socket, '--quiet')
    expect(code).toBe(1)
    expect(stdout).toMatch(/^model@1 .*\n$/)
    expect(stderr).toMatch(/^onecopy: Cannot load checkpoint "broken": .*broken\.safetensors.* \(LOAD_FAILED\)\n$/)
    expect(readdirSync(join(folder, 'socket')).filter((name) => name.endsWith('.sock'))).toEqual([])
  })

  test('a budget that is too small is an error that says what is needed', async () => {
    const { model, socket } = await prepare()
    const { code, stderr } = await onecopy(
      'serve',
      model,
      '--backing',
      'sealed',
      '--budget',
      '64',
      '--socket',
      socket,
      '--quiet',
    )
    expect(code).toBe(1)
    expect(stderr).toMatch(
      /^onecopy: Checkpoint "model" needs \d+ bytes; the budget is 64 bytes, .*\(BUDGET_EXCEEDED\)\n$/,
    )
  })

  test('--budget none is no limit', async () => {
    const { model, socket } = await prepare()
    await startServe(socket, model, '--budget', 'none')
    expect((await onecopy('status', '--socket', socket)).stdout).toMatch(/held, no budget$/m)
  })

  test('a name that no client could ask for is an error', async () => {
    const { model, socket } = await prepare()
    const { code, stderr } = await onecopy('serve', `my model=${model}`, '--socket', socket, '--quiet')
    expect(code).toBe(1)
    expect(stderr).toMatch(/^onecopy: Name "my model" must .* \(NAME_INVALID\)\n$/)
  })

  test('SIGHUP publishes again what has changed, and only that; what is broken goes on as it was', async () => {
    const { model, other, socket } = await prepare()
    const serve = await startServe(socket, model, other)
    serve.child.kill('SIGHUP')
    await serve.logs(/SIGHUP: nothing new$/m)
    rmSync(other, { recursive: true })
    mkdirSync(other)
    writeNames(other, ['a', 'b', 'c'])
    serve.child.kill('SIGHUP')
    await serve.logs(/SIGHUP: published other@2$/m)
    rmSync(other, { recursive: true })
    serve.child.kill('SIGHUP')
    await serve.logs(/not published again: No checkpoint at .*\(SOURCE_NOT_FOUND\)$/m)
    const [first, second] = (await statusOf(socket)).checkpoints
    expect(first).toMatchObject({ name: 'model', versions: [{ version: 1, changed: false }] })
    expect(second).toMatchObject({ name: 'other', versions: [{ version: 2, changed: true }] })
    expect((await onecopy('status', '--socket', socket)).stdout).toMatch(/^other +2 .* ready files changed /m)
  })

  test.skipIf(!hasPseudoTerminals)('ends with the terminal that it was started in', async () => {
    const { model, socket } = await prepare()
    // Its own process is the terminal: killed, it closes what the command was started in.
    const command = [process.execPath, MAIN, 'serve', model, '--socket', socket].map(shellWord).join(' ')
    const env = { ...process.env, NO_COLOR: '1' }
    const terminal = spawn('script', ['--quiet', '--command', `exec ${command}`, '/dev/null'], { env, stdio: 'pipe' })
    onTestFinished(() => void terminal.kill('SIGKILL'))
    let said = ''
    terminal.stdout.setEncoding('utf8').on('data', (text) => {
      said += text
    })
    await until(() => /^listening /m.test(said), 'it listens')
    const { pid } = await statusOf(socket)
    process.kill(pid, 'SIGHUP')
    await until(() => said.includes('SIGHUP: nothing new'), 'it looks at its files while the terminal is there')
    terminal.kill('SIGKILL')
    await until(() => !existsSync(socket) && !isAlive(pid), 'it has ended and taken its socket along')
  })

  test('goes on when nobody reads its output any more', async () => {
    const { model, socket } = await prepare()
    const serve = await startServe(socket, model)
    serve.child.stdout?.destroy()
    serve.child.stderr?.destroy()
    for (const name of ['a', 'b']) {
      expect(await onecopy('publish', name, model, '--socket', socket)).toMatchObject({ code: 0 })
    }
    expect((await statusOf(socket)).checkpoints).toHaveLength(3)
  })
})

describe('commands that ask a coordinator', () => {
  test.each([['status'], ['publish', 'name', '/no/such'], ['retire', 'name'], ['run', '--', 'true']])(
    '%s without one: exit code 1 and how to start one',
    async (...args) => {
      const socket = join(temporaryFolder(), 'none.sock')
      const [command, ...rest] = args
      const { code, stdout, stderr } = await onecopy(command!, '--socket', socket, ...rest)
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
      expect(stderr).toMatch(
        HAS_ADDON ? /^onecopy: No coordinator at .*: onecopy serve .* \(COORDINATOR_UNREACHABLE\)\n$/ : /^onecopy: /,
      )
    },
  )

  test.runIf(HAS_ADDON)('publish of what does not exist leaves everything as it was', async () => {
    const { model, socket } = await prepare()
    await startServe(socket, model)
    const { code, stderr } = await onecopy('publish', 'model', '/no/such', '--socket', socket)
    expect(code).toBe(1)
    expect(stderr).toBe('onecopy: Cannot load checkpoint "model": No checkpoint at "/no/such" (LOAD_FAILED)\n')
    expect((await statusOf(socket)).checkpoints).toMatchObject([{ source: model, versions: [{ version: 1 }] }])
  })

  test.runIf(HAS_ADDON)('status --watch repeats itself, and says when the coordinator has gone', async () => {
    const { model, socket } = await prepare()
    const serve = await startServe(socket, model)
    const text = startOnecopy(['status', '--watch', '--socket', socket])
    const json = startOnecopy(['status', '--watch', '--json', '--socket', socket])
    await text.says(/^coordinator (?:.*\n)+coordinator /m)
    await json.says(/^{.*"checkpoints":\[{.*}\n{.*}\n/)
    serve.child.kill('SIGKILL')
    await text.says(/^onecopy: No coordinator at .* \(COORDINATOR_UNREACHABLE\)$/m)
    await json.says(/^{"error":{"code":"COORDINATOR_UNREACHABLE","message":"No coordinator .*"}}$/m)
  })

  test.runIf(HAS_ADDON)('ONECOPY_SOCKET stands in for --socket', async () => {
    const { model, socket } = await prepare()
    await startServe(socket, model)
    const { code, stdout } = await startOnecopy(['status'], { ONECOPY_SOCKET: socket }).outcome
    expect(code).toBe(0)
    expect(stdout).toContain(socket)
  })
})
