import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Waits until `condition` holds; the test's own time limit ends it otherwise. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await sleep(5)
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
  })
}
