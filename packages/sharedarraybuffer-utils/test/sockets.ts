import { spawn } from 'node:child_process'
import { fstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { until } from '../../../test/until.ts'
import { closeDescriptors, type Descriptor } from '../src/descriptor.ts'
import type { SharedMemoryError } from '../src/errors.ts'
import { connectUnix, listenUnix, UnixListener, type UnixStream } from '../src/unix-socket.ts'
import { BUILT_LIBRARY } from './support.ts'

export { until } from '../../../test/until.ts'

/** A folder that goes when the test ends. */
export function testFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'onecopy-socket-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

export function socketPath(): string {
  return join(testFolder(), 'socket')
}

/** What a stream was told so far. */
export interface Told {
  readonly bytes: () => Buffer
  readonly descriptors: Descriptor[]
  readonly ends: (SharedMemoryError | null)[]
}

/** Starts a stream and keeps what comes; descriptors are closed when the test ends. */
export function listenTo(stream: UnixStream): Told {
  const chunks: Buffer[] = []
  const told: Told = { bytes: () => Buffer.concat(chunks), descriptors: [], ends: [] }
  stream.start({
    onData: (bytes, descriptors) => {
      chunks.push(bytes)
      told.descriptors.push(...descriptors)
    },
    onEnd: (error) => told.ends.push(error),
  })
  onTestFinished(() => closeDescriptors(told.descriptors.splice(0)))
  return told
}

/** A listener whose connections are kept until the test ends. */
export function listenAt(path: string): { listener: UnixListener; accepted: UnixStream[]; errors: Error[] } {
  const accepted: UnixStream[] = []
  const errors: Error[] = []
  const listener = new UnixListener(
    listenUnix(path),
    (stream) => accepted.push(stream),
    (error) => errors.push(error),
  )
  onTestFinished(() => {
    listener.close()
    for (const stream of accepted) stream.close()
  })
  return { listener, accepted, errors }
}

/** Both ends of a connection, not started yet. */
export async function pair(): Promise<[UnixStream, UnixStream]> {
  const path = socketPath()
  const { listener, accepted } = listenAt(path)
  const near = connectUnix(path)
  onTestFinished(() => near.close())
  await until(() => accepted.length === 1)
  listener.close()
  return [near, accepted[0]!]
}

/** Descriptors of this process that are sockets, or all of them. */
export function descriptorCount(): number {
  return readdirSync('/proc/self/fd').length
}

export function isCloseOnExec(descriptor: number): boolean {
  const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${descriptor}`, 'utf8'))?.[1] ?? ''
  return (Number.parseInt(flags, 8) & 0o2000000) !== 0
}

export function inodeOf(descriptor: number): number {
  return fstatSync(descriptor).ino
}

/** A module in a process of its own that goes on beside the test; it is killed when the test ends. */
export interface Beside {
  readonly pid: number
  /** Resolves with the next line of its output. */
  line(): Promise<string>
  write(text: string): void
  kill(): void
  readonly ended: Promise<{ code: number | null; signal: string | null; stderr: string }>
}

/** @param wrap a command that starts the one behind it */
export function startBeside(script: string, input: unknown = null, wrap: readonly string[] = []): Beside {
  const source = `import * as memory from ${JSON.stringify(BUILT_LIBRARY)}
    const input = JSON.parse(process.argv[1])
    const say = (value) => process.stdout.write(JSON.stringify(value) + '\\n')
    ${script}`
  const node = [process.execPath, '--input-type=module', '-e', source, JSON.stringify(input)]
  const [command, ...rest] = [...wrap, ...node]
  const child = spawn(command!, rest, { stdio: 'pipe' })
  onTestFinished(() => void child.kill('SIGKILL'))
  let output = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  let closed = false
  const ended = new Promise<{ code: number | null; signal: string | null; stderr: string }>((resolve) => {
    child.on('close', (code, signal) => {
      closed = true
      resolve({ code, signal, stderr })
    })
  })
  return {
    pid: child.pid!,
    ended,
    write: (text) => child.stdin.write(text),
    kill: () => child.kill('SIGKILL'),
    line: async () => {
      await until(() => output.includes('\n') || closed)
      const end = output.indexOf('\n')
      if (end < 0) throw new TypeError(`The process ended without a line: ${stderr}`)
      const line = output.slice(0, end)
      output = output.slice(end + 1)
      return line
    },
  }
}
