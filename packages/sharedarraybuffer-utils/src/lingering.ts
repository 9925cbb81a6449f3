import { addon } from './addon.ts'

/** Less is not worth looking through a heap for. */
const LEAST_BYTES = 16 * 2 ** 20

/** Between two looks, in milliseconds: what is dropped soon after its mapping was closed goes soon, the rest is waited for. */
const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 10_000

let pause = FIRST_PAUSE_MS
let timer: NodeJS.Timeout | null = null

/**
 * Bytes of sealed memory in this process that nobody has open any more, and that buffers over it, in any thread, still keep in
 * RAM.
 */
export function lingeringBytes(): number {
  return addon?.lingeringBytes() ?? 0
}

/**
 * @internal Has this thread's garbage collector look for buffers that nobody reaches, now and for as long as any sealed memory
 * lingers: they are small objects to it, and it would let them lie.
 */
export function collectLingering(): void {
  pause = FIRST_PAUSE_MS
  if (timer !== null) clearTimeout(timer)
  look()
}

function look(): void {
  timer = null
  if (lingeringBytes() < LEAST_BYTES) return
  addon?.askForCollection()
  timer = setTimeout(look, pause)
  timer.unref()
  pause = Math.min(2 * pause, LONGEST_PAUSE_MS)
}
