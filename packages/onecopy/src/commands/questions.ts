import type { ClientStatus } from '@onecopy/protocol'

/** How the commands that only ask something of a coordinator call themselves to it. */
export const QUESTIONS = {
  status: 'onecopy status',
  publish: 'onecopy publish',
  retire: 'onecopy retire',
  run: 'onecopy run',
} as const

/** Whether a client is one of them, and this user's: what others call themselves is not believed. */
export function isQuestion({ name, uid }: ClientStatus): boolean {
  return uid === process.geteuid?.() && (Object.values(QUESTIONS) as string[]).includes(name)
}
