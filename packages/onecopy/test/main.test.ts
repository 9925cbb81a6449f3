import { spawnSync } from 'node:child_process'
import { openSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { MAIN, onecopy, startOnecopy, temporaryFolder } from './run-onecopy.ts'
import { writeNames } from './small-checkpoints.ts'

const COMMANDS = ['inspect', 'verify', 'serve', 'status', 'publish', 'retire', 'run', 'demo']

describe('onecopy', () => {
  test('--version prints the version of package.json', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
    for (const flag of ['--version', '-v', '-V']) {
      expect(await onecopy(flag)).toEqual({ code: 0, signal: null, stdout: `${version}\n`, stderr: '' })
    }
  })

  test('--help lists the commands', async () => {
    const { code, stdout } = await onecopy('--help')
    expect(code).toBe(0)
    for (const command of COMMANDS) expect(stdout).toContain(`\n  ${command} `)
  })

  test.each(COMMANDS)('%s --help describes its options', async (command) => {
    const { code, stdout } = await onecopy(command, '--help')
    expect(code).toBe(0)
    expect(stdout).toContain(`Usage: onecopy ${command} [options]`)
    expect(stdout).toMatch(/^ +--(?:json|socket) /m)
  })

  test('help shows what --help does, of everything and of one command', async () => {
    for (const command of [[], ['serve']]) {
      expect(await onecopy('help', ...command)).toEqual(await onecopy(...command, '--help'))
    }
  })

  test('without a command it prints help and exits with 2', async () => {
    const { code, stderr } = await onecopy()
    expect(code).toBe(2)
    expect(stderr).toContain('Usage: onecopy')
  })

  test.each([
    [['inspect', '--nonsense', 'x'], "unknown option '--nonsense'"],
    [['unspect', 'x'], "unknown command 'unspect'"],
    [['help', 'unspect'], "unknown command 'unspect'"],
    [['inspect'], "missing required argument 'checkpoint'"],
    [['retire', 'x', 'y'], 'too many arguments'],
    [['inspect', 'x', '--sort', 'colour'], 'Allowed choices are name, size, file'],
    [['demo', '--threads', '0'], 'a whole number from 1 to 1024'],
    [['demo', '--size', 'huge'], 'a size such as 512MiB'],
    [['demo', '--size', '1MiB'], '8MiB or more'],
    [['demo', '--processes', '-1'], 'a whole number from 0 to 256'],
    [['demo', '--processes', ''], 'a whole number from 0 to 256'],
    [['serve'], "missing required argument 'checkpoints'"],
    [['serve', 'x', '--budget', 'much'], 'a size such as 512MiB'],
    [['serve', 'x', '--backing', 'heap'], 'Allowed choices are file, sealed'],
    [['serve', 'x', '--allow-uid', '1000,somebody'], 'a whole number from 0 to'],
    [['serve', 'x', '--allow-gid', 'staff'], 'a whole number from 0 to'],
    [['serve', 'x', '--publishers', '-1'], 'a whole number from 0 to'],
    [['serve', 'x', '--publisher-group', '4294967295'], 'a whole number from 0 to'],
    [['serve', 'x', '--max-clients', '0'], 'a whole number from 1 to'],
    [['serve', 'x', '--hand-back-ms', '3s'], 'a whole number from 0 to'],
    [['serve', 'x', '--socket', ''], 'the path of a unix socket'],
    [['serve', 'x=/a/b', 'x=/c/d'], 'The name "x" is taken by /a/b'],
    [['publish', 'x'], "missing required argument 'checkpoint'"],
    [['run'], "missing required argument 'program'"],
    [['run', '--nonsense', 'x'], "unknown option '--nonsense'"],
  ])('%j is misuse: exit code 2 and one line that says why', async (args, reason) => {
    const { code, stdout, stderr } = await onecopy(...args)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain(reason)
    expect(stderr).toMatch(/^onecopy: /)
  })

  test('an error with a code is one line without a stack, exit code 1', async () => {
    const { code, stdout, stderr } = await onecopy('inspect', '/no/such/path')
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toBe('onecopy: No checkpoint at "/no/such/path" (SOURCE_NOT_FOUND)\n')
  })

  test('ONECOPY_DEBUG=1 shows the stack', async () => {
    const { code, stderr } = await startOnecopy(['inspect', '/no/such/path'], { ONECOPY_DEBUG: '1' }).outcome
    expect(code).toBe(1)
    expect(stderr).toMatch(/\n +at /)
  })

  test('control characters of a path do not reach the terminal', async () => {
    const { stderr } = await onecopy('inspect', '/no/such\u001b[31m/path\u009b')
    expect(stderr).toContain('/no/such\\u001b[31m/path\\u009b')
    for (const control of ['\u001b', '\u009b']) expect(stderr).not.toContain(control)
  })

  test('a list of shards is one checkpoint, and ~ that the shell left is the home folder', async () => {
    const home = temporaryFolder()
    for (const name of ['a', 'b']) renameSync(writeNames(home, [name]), join(home, `${name}.safetensors`))
    const env = { HOME: home }
    for (const command of ['inspect', 'verify']) {
      const args = [command, '--json', '~/a.safetensors', '~/b.safetensors']
      const { code, stdout, stderr } = await startOnecopy(args, env).outcome
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      expect(stdout).toContain(home)
    }
    const { stdout } = await startOnecopy(['inspect', '--json', '~/a.safetensors', '~/b.safetensors'], env).outcome
    expect(JSON.parse(stdout).tensors.map(({ name }: { name: string }) => name)).toEqual(['a', 'b'])
  })

  test.each(['inspect', 'verify'])('%s to a full disk is a failure that says so', async (command) => {
    const path = writeNames(temporaryFolder(), ['a'])
    const child = spawnSync(process.execPath, [MAIN, command, path], {
      stdio: ['ignore', openSync('/dev/full', 'w'), 'pipe'],
      encoding: 'utf8',
      timeout: 60_000,
    })
    expect(child.status).toBe(1)
    expect(child.stderr).toMatch(/^onecopy: Cannot write to the standard output: ENOSPC.* \(OUTPUT_UNWRITABLE\)\n$/)
  })

  test.each([
    ['inspect', []],
    ['verify', []],
    ['plan', ['--tp', '1']],
    ['serve', []],
  ])('%s says what a file really is and what mends it, exit code 1', async (command, options) => {
    const folder = temporaryFolder()
    const socket = join(folder, 'socket')
    const path = join(folder, 'model.safetensors')
    writeFileSync(path, 'version https://git-lfs.github.com/spec/v1\n')
    const { outcome } = startOnecopy([command, folder, ...options], { ONECOPY_SOCKET: socket })
    const { code, stdout, stderr } = await outcome
    expect(code).toBe(1)
    expect(stdout + stderr).toContain(
      `the file is a Git LFS pointer: fetch the file itself with: git -C ${folder} lfs pull`,
    )
    // A coordinator has a code of its own for whatever keeps it from loading.
    expect(stdout + stderr).toContain(command === 'serve' ? '(LOAD_FAILED)' : '(SAFETENSORS_HEADER_TOO_LARGE)')
  })

  test.each(['inspect', 'verify', 'serve'])('%s folds what it says to the width of the terminal', async (command) => {
    const folder = join(temporaryFolder(), 'sub')
    const { stdout, stderr } = await startOnecopy([command, folder], { COLUMNS: '60' }).outcome
    const words = (stdout + stderr).split('\n')
    for (const line of words)
      if (/ /.test(line.trim()) && !line.includes(folder)) expect(line.length).toBeLessThanOrEqual(60)
    expect(words.length).toBeGreaterThan(2)
  })

  test('a reader that closes the pipe early is no failure', async () => {
    const folder = temporaryFolder()
    const names = Array.from({ length: 20_000 }, (_, at) => `a.rather.long.name.to.fill.the.pipe.${at}`)
    const { child, outcome } = startOnecopy(['inspect', writeNames(folder, names)])
    child.stdout?.once('data', () => child.stdout?.destroy())
    expect(await outcome).toMatchObject({ code: 0, signal: null, stderr: '' })
  })
})
