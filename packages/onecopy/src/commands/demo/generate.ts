import { fork } from 'node:child_process'
import { statfsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { CommandError } from '../../errors.ts'
import { ProgressBar } from '../../terminal/progress-bar.ts'
import { formatBytes } from '../../terminal/units.ts'
import type { TemporaryFolder } from '../temporary-folder.ts'
import type { GenerateMessage } from './generate-process.ts'
import { plannedBytes } from './transformer-shapes.ts'

/** What is left to others on the disk. */
const SPARE_BYTES = 64 * 2 ** 20

/**
 * Refuses a size for which the disk of a folder has no room.
 * @throws CommandError DEMO_DISK_FULL
 */
export function assertRoomFor(byteLength: number, folder: string): void {
  const { bavail, bsize } = statfsSync(folder)
  const freeBytes = bavail * bsize
  const neededBytes = plannedBytes(byteLength) + SPARE_BYTES
  if (freeBytes >= neededBytes) return
  const message = `A generated checkpoint of ${formatBytes(byteLength)} needs ${formatBytes(neededBytes)} of disk, and "${folder}" has ${formatBytes(freeBytes)} free; choose another folder with TMPDIR, or less with --size`
  throw new CommandError('DEMO_DISK_FULL', message)
}

/**
 * Writes a sharded checkpoint with an index into the folder. A process of its own does it, so that nothing of what it
 * takes counts when the memory of this one is measured.
 * @throws CommandError DEMO_GENERATION_FAILED
 */
export async function generateCheckpoint(folder: TemporaryFolder, byteLength: number): Promise<void> {
  const bar = new ProgressBar('generating', plannedBytes(byteLength))
  const program = fileURLToPath(new URL('./generate-process.js', import.meta.url))
  const child = fork(program, [folder.path, String(byteLength)], { execArgv: [] })
  folder.beforeRemoval(() => child.kill('SIGKILL'))
  try {
    await new Promise<void>((resolve, reject) => {
      const fail = (reason: string, cause?: unknown): void =>
        reject(new CommandError('DEMO_GENERATION_FAILED', `Cannot generate a checkpoint: ${reason}`, { cause }))
      let done = false
      child.on('message', (message: GenerateMessage) => {
        if (message.type === 'progress') bar.update(message.doneBytes)
        if (message.type === 'done') done = true
        if (message.type === 'failed') fail(message.message)
      })
      child.on('error', (cause) => fail(cause.message, cause))
      child.on('exit', (code, signal) => {
        if (done) resolve()
        else fail(`its process ended with ${signal ?? `exit code ${code}`}`)
      })
    })
  } finally {
    bar.end()
  }
}
