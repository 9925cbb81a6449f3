import { readFileSync } from 'node:fs'

/** What the kernel says in a file of /proc or /sys; empty where there is no such file for this process. */
export function systemText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
