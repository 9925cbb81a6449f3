import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Tests wait for conditions, never for a time; this is when one is given up, in milliseconds: well within a test's limit. */
const PATIENCE_MS = 60_000
const POLL_MS = 5

/**
 * Waits until a condition holds.
 * @param what is waited for, as the failure says it; by default the condition as it is written
 */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string = String(condition),
): Promise<void> {
  for (const begin = performance.now(); !(await condition()); await sleep(POLL_MS)) {
    if (performance.now() - begin > PATIENCE_MS) throw new Error(`Gave up after ${PATIENCE_MS} ms waiting for: ${what}`)
  }
}

let collect: (() => void) | undefined

export function collectGarbage(): void {
  if (collect === undefined) {
    setFlagsFromString('--expose-gc')
    collect = runInNewContext('gc') as () => void
  }
  collect()
}

/** Until the condition holds: buffers hold their memory until they are collected. */
export async function collectUntil(condition: () => boolean): Promise<void> {
  await until(() => {
    collectGarbage()
    return condition()
  }, `${condition}, after collections`)
}
