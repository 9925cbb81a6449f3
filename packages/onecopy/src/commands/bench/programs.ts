import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CommandError } from '../../errors.ts'
import type { TemporaryFolder } from '../temporary-folder.ts'
import type { ProgramMessage } from './program.ts'

/** What came of a program's work: its answer, or the reason that it gave for having none. */
export type Outcome<Answer> = { readonly answer: Answer } | { readonly reason: string }

/** The programs that measure, each in a process of its own. None outlives the folder. */
export class Programs {
  /** Private to this run; gone with it. */
  readonly folder: string
  readonly #running = new Set<ChildProcess>()
  #tasks = 0

  constructor(folder: TemporaryFolder) {
    this.folder = folder.path
    folder.beforeRemoval(() => {
      for (const child of this.#running) child.kill('SIGKILL')
    })
  }

  /** Starts one of the files beside this one. What it has to do waits for it in a file: a selection may be long. */
  start(name: string, task: unknown, env: NodeJS.ProcessEnv = {}): Program {
    const args = [this.#writeTask(task)]
    const path = this.path(name)
    const options = { execArgv: [], env: { ...process.env, ...env } }
    const startedNs = process.hrtime.bigint()
    return new Program(this.#keep(fork(path, args, options)), startedNs)
  }

  /** Runs a program until it ends, and gives its last answer and when it was started. */
  async run<Answer>(name: string, task: unknown): Promise<Outcome<Answer> & { readonly startedNs: bigint }> {
    const program = this.start(name, task)
    try {
      return { ...(await program.outcome<Answer>()), startedNs: program.startedNs }
    } finally {
      await program.end()
    }
  }

  /** Runs node with these arguments until it ends, and gives what it printed: the barest start there is. */
  async print(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<{ text: string; startedNs: bigint }> {
    const options = {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'inherit'] as ['ignore', 'pipe', 'inherit'],
    }
    const startedNs = process.hrtime.bigint()
    const child = spawn(process.execPath, args, options)
    this.#keep(child)
    let text = ''
    child.stdout.setEncoding('utf8').on('data', (more) => {
      text += more
    })
    const [code, signal] = await once(child, 'close').catch((cause) => {
      throw processFailed(cause.message, cause)
    })
    if (code !== 0) throw processFailed(`it ended with ${signal ?? `exit code ${code}`}`)
    return { text, startedNs }
  }

  /** The file of a program. */
  path(name: string): string {
    return fileURLToPath(new URL(`./${name}.js`, import.meta.url))
  }

  /** @returns the path of the file that the task was written to */
  #writeTask(task: unknown): string {
    const path = join(this.folder, `task-${this.#tasks++}.json`)
    writeFileSync(path, JSON.stringify(task))
    return path
  }

  #keep(child: ChildProcess): ChildProcess {
    this.#running.add(child)
    child.once('exit', () => this.#running.delete(child))
    return child
  }
}

/** A program that runs, and what it answers. */
export class Program {
  readonly startedNs: bigint
  readonly #child: ChildProcess
  readonly #messages: ProgramMessage[] = []
  #wake: () => void = () => {}
  #ended: Error | null = null

  constructor(child: ChildProcess, startedNs: bigint) {
    this.startedNs = startedNs
    this.#child = child
    child.on('message', (message: ProgramMessage) => {
      this.#messages.push(message)
      this.#wake()
    })
    const end = (reason: string, cause?: unknown): void => {
      this.#ended ??= processFailed(reason, cause)
      this.#wake()
    }
    child.on('error', (cause) => end(cause.message, cause))
    child.on('exit', (code, signal) => {
      const ended = (): void => end(`it ended with ${signal ?? `exit code ${code}`}`)
      // Its last message may still be on the way.
      if (child.connected) child.once('disconnect', ended)
      else ended()
    })
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /**
   * The next answer, or the reason why there is none: a failure with a code, such as a limit of this machine.
   * @throws CommandError BENCH_PROCESS_FAILED when it ends without, or fails otherwise
   */
  async outcome<Answer>(): Promise<Outcome<Answer>> {
    while (this.#messages.length === 0) {
      if (this.#ended !== null) throw this.#ended
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    const message = this.#messages.shift()!
    if (message.type === 'answer') return { answer: message.answer as Answer }
    if (message.code === null) throw processFailed(message.message)
    return { reason: `${message.message} (${message.code})` }
  }

  /** @throws CommandError BENCH_PROCESS_FAILED whatever the reason */
  async answer<Answer>(): Promise<Answer> {
    const outcome = await this.outcome<Answer>()
    if ('answer' in outcome) return outcome.answer
    throw processFailed(outcome.reason)
  }

  async ask<Answer>(question: string): Promise<Answer> {
    if (this.#child.connected) this.#child.send(question)
    return this.answer<Answer>()
  }

  /** Resolves when it has ended, and its memory is free. */
  async end(): Promise<void> {
    const { exitCode, signalCode, pid } = this.#child
    if (exitCode !== null || signalCode !== null || pid === undefined) return
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exited
  }
}

function processFailed(reason: string, cause?: unknown): CommandError {
  return new CommandError('BENCH_PROCESS_FAILED', `A process of the bench failed: ${reason}`, { cause })
}
