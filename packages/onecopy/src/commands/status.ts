import { setTimeout as sleep } from 'node:timers/promises'
import { type CoordinatorHealth, coordinatorHealth, coordinatorStatus } from '@onecopy/client'
import type { CoordinatorStatus } from '@onecopy/protocol'
import { errorCode, messageLines } from '../terminal/error-message.ts'
import { printable } from '../terminal/printable.ts'
import { styleOf } from '../terminal/style.ts'
import { printableJson } from '../terminal/text.ts'
import { formatCount } from '../terminal/units.ts'
import { QUESTIONS } from './questions.ts'
import { statusLines } from './status/status-lines.ts'

/** The options of `onecopy status`. */
export interface StatusOptions {
  readonly socket?: string
  readonly json?: boolean
  readonly watch?: boolean
  readonly residency?: boolean
  readonly health?: boolean
}

const WATCH_MS = 1000

/** Shows a coordinator's state, or only how it is, once or every second. */
export async function status(options: StatusOptions): Promise<void> {
  const { json = false, watch = false } = options
  let text = await ask(options)
  for (;;) {
    process.stdout.write(watch && !json ? frame(text) : `${text}\n`)
    if (!watch) return
    await sleep(WATCH_MS)
    // Once it was there, it may go and come back: that is among what people watch for.
    text = await ask(options).catch((error) => failureText(error, json))
  }
}

async function ask({ socket, json = false, watch = false, residency = false, health }: StatusOptions): Promise<string> {
  const connect = { ...(socket !== undefined && { socket }), name: QUESTIONS.status }
  if (health) return healthText(await coordinatorHealth(connect), json)
  const state = await coordinatorStatus({ ...connect, residency })
  // Without the client that asks.
  return textOf({ ...state, clients: state.clients.filter(({ pid }) => pid !== process.pid) }, json, watch)
}

function healthText(health: CoordinatorHealth, json: boolean): string {
  if (json) return printable(JSON.stringify(health))
  const { state, loading, pid, software } = health
  const what = state === 'loading' ? `loading ${formatCount(loading, 'checkpoint')}` : state
  return printable(`${what}: process ${pid}, ${software}`)
}

function textOf(state: CoordinatorStatus, json: boolean, watch: boolean): string {
  if (!json) return statusLines(state, Date.now(), styleOf(process.stdout)).join('\n')
  return watch ? printable(JSON.stringify(state)) : printableJson(state)
}

function failureText(error: unknown, json: boolean): string {
  const code = errorCode(error)
  if (code === null || !(error instanceof Error)) throw error
  return json ? printable(JSON.stringify({ error: { code, message: error.message } })) : messageLines(error, false)[0]!
}

/** One picture of several: on a terminal in place of the one before, as much as there is room for; elsewhere below it. */
function frame(text: string): string {
  const { isTTY, rows } = process.stdout
  if (!isTTY) return `${text}\n\n`
  const lines = text.split('\n')
  // A terminal that does not know its size has 0 rows.
  const shown =
    rows === 0 || lines.length < rows ? lines : [...lines.slice(0, rows - 2), `… ${lines.length - rows + 2} more lines`]
  return `\u001b[H\u001b[2J${shown.join('\n')}\n`
}
