import { spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { listenUnix } from '@onecopy/sharedarraybuffer-utils'
import { describe, expect, it, onTestFinished } from 'vitest'
import { activatedSocket, boundPath, notifySystemd } from '../src/notify-systemd.ts'
import { CoordinatorProcess, saveModel, TestClient, temporaryFolder, until } from './support.ts'

const hasPython = spawnSync('python3', ['-c', 'import socket']).status === 0

/** A service manager's notification socket; gives the datagrams that came. */
async function manager(address: string): Promise<() => string[]> {
  const script = `import socket, sys
address = sys.argv[1].replace("@", "\\0", 1) if sys.argv[1][0] == "@" else sys.argv[1]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind(address); print("bound", flush=True)
while True: print(s.recv(4096).decode(), flush=True)`
  const child = spawn('python3', ['-c', script, address])
  onTestFinished(() => void child.kill())
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  await until(() => output.includes('bound'))
  return () => output.trim().split('\n').slice(1)
}

describe('boundPath()', () => {
  it('is where a socket listens, spaces and all, and null for what is no socket, or none of this kind', () => {
    const path = join(temporaryFolder(), 'a b')
    const listening = listenUnix(path)
    expect(boundPath(listening.number)).toBe(path)
    listening.close()
    expect([0, 9999].map((number) => boundPath(number))).toEqual([null, null])
  })
})

describe('activatedSocket()', () => {
  it('is descriptor 3 when the environment is meant for this process, and cleans the environment', () => {
    const env = { LISTEN_PID: `${process.pid}`, LISTEN_FDS: '1', LISTEN_FDNAMES: 'x', HOME: '/' }
    expect(activatedSocket(env)).toBe(3)
    expect(env).toEqual({ HOME: '/' })
    expect(activatedSocket(env)).toBeNull()
  })

  it.each([
    { LISTEN_PID: '1', LISTEN_FDS: '1' },
    { LISTEN_PID: `${process.pid}`, LISTEN_FDS: '0' },
    { LISTEN_PID: `${process.pid}` },
    { LISTEN_FDS: '1' },
    { LISTEN_PID: `${process.pid}`, LISTEN_FDS: 'x' },
  ])('is null for %j', (env) => {
    expect(activatedSocket(env)).toBeNull()
  })
})

describe('notifySystemd()', () => {
  it('does nothing without a service manager, and warns of one that cannot be reached', async () => {
    notifySystemd('READY=1', {})
    notifySystemd('READY=1', { NOTIFY_SOCKET: '' })
    const warned = new Promise<Error>((resolve) => process.once('warning', resolve))
    notifySystemd('READY=1', { NOTIFY_SOCKET: join(temporaryFolder(), 'nobody') })
    expect((await warned).message).toMatch(/^Cannot notify systemd: .* ENOENT$/)
  })
})

describe.skipIf(!hasPython)('a coordinator under a service manager', () => {
  it.each(['path', 'abstract'])('tells when it is ready and when it stops, at an address of kind %s', async (kind) => {
    const address = kind === 'path' ? join(temporaryFolder(), 'notify') : `@onecopy-notify-${process.pid}`
    const told = await manager(address)
    const socket = join(temporaryFolder(), 's', 'socket')
    const coordinator = await CoordinatorProcess.start({ socket }, { NOTIFY_SOCKET: address })
    await until(() => told().length === 1)
    expect(told()).toEqual(['READY=1'])
    expect(await coordinator.kill('SIGTERM')).toEqual({ code: 0, signal: null, stderr: '' })
    await until(() => told().length === 2)
    expect(told()).toEqual(['READY=1', 'STOPPING=1'])
  })

  it('serves the socket that it inherits as descriptor 3, wherever that is, and leaves its file to the manager', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 'activated')
    const listening = listenUnix(path)
    const model = await saveModel(join(folder, 'model'))
    // LISTEN_PID must be the process that serves: a shell sets it and becomes that process. Descriptor 3 blocks.
    const script = `import { startCoordinator } from '@onecopy/coordinator'
      const coordinator = await startCoordinator({ handBackMs: 0 })
      await coordinator.publish('a', process.argv[1], { backing: 'sealed' })
      const left = Object.keys(process.env).filter((key) => key.startsWith('LISTEN'))
      console.log(JSON.stringify([...left, coordinator.socket]))
      process.once('SIGTERM', () => coordinator.close())`
    const shell = 'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"'
    const node = [process.execPath, '--input-type=module', '-e', script, model]
    const child = spawn('sh', ['-c', shell, 'sh', ...node], {
      stdio: ['ignore', 'pipe', 'inherit', listening.number],
      cwd: new URL('.', import.meta.url),
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    const ended = new Promise((resolve) => child.on('close', (code) => resolve(code)))
    listening.close()
    // Connects before anybody accepts: the manager's socket queues.
    const early = new TestClient(path)
    const line = await new Promise<string>((resolve) => child.stdout?.once('data', (text) => resolve(`${text}`)))
    expect(JSON.parse(line)).toEqual([path])
    expect(await early.opening).toMatchObject({ type: 'welcome', pid: child.pid })
    const client = await TestClient.connect(path)
    expect((await client.acquire('a')).descriptors).toHaveLength(3)
    expect(existsSync(`${path}.ledger`)).toBe(true)
    child.kill('SIGTERM')
    expect(await ended).toBe(0)
    expect(existsSync(path)).toBe(true)
  })
})
