import { join } from 'node:path'
import type { CoordinatorTask } from './coordinator-process.ts'
import type { Setting } from './setting.ts'

/** The coordinator of a run, in a process of its own, which ends with the run. */
export interface BenchCoordinator {
  readonly pid: number
  /** What a process needs to attach to it. */
  readonly env: { readonly ONECOPY_SOCKET: string; readonly ONECOPY_CHECKPOINT: string }
}

/** What it calls the checkpoint. */
const NAME = 'bench'

/** Starts it on a socket that only this run knows, and publishes the checkpoint: its files, no copy. */
export async function startBenchCoordinator({ programs, subject }: Setting): Promise<BenchCoordinator> {
  const socket = join(programs.folder, 'onecopy.sock')
  const task: CoordinatorTask = { socket, name: NAME, source: subject.source }
  const program = programs.start('coordinator-process', task)
  await program.answer()
  return { pid: program.pid, env: { ONECOPY_SOCKET: socket, ONECOPY_CHECKPOINT: NAME } }
}
