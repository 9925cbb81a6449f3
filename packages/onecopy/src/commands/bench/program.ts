// What every measuring program has in common. It imports next to nothing, so that a program's first line runs as soon
// as it can.
import { readFileSync } from 'node:fs'

/** What a program tells the process that started it. */
export type ProgramMessage<Answer = unknown> =
  | { readonly type: 'answer'; readonly answer: Answer }
  /** The code is null for what should not have happened. */
  | { readonly type: 'failed'; readonly message: string; readonly code: string | null }

/** When this program's own lines began to run, on the clock that all processes share. */
export const begunNs: bigint = process.hrtime.bigint()

// Whoever started it is gone.
process.on('disconnect', () => process.exit())

/** What it was started with. */
export function readTask<Task>(): Task {
  return JSON.parse(readFileSync(process.argv[2]!, 'utf8'))
}

/** Does the work and tells what came of it, or why nothing did. */
export async function answer(work: () => Promise<unknown>): Promise<void> {
  try {
    tell({ type: 'answer', answer: (await work()) ?? null })
  } catch (error) {
    const { message = String(error), code } = error as { message?: string; code?: unknown }
    tell({ type: 'failed', message, code: typeof code === 'string' ? code : null })
  }
}

/** Answers each question in turn; the process ends when the one that asks does. */
export function answerQuestions(work: () => Promise<unknown>): void {
  process.on('message', () => void answer(work))
}

function tell(message: ProgramMessage): void {
  if (process.connected) process.send?.(message)
}
