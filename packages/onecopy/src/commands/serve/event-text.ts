import type { CoordinatorEvent } from '@onecopy/coordinator'
import type { ClientStatus } from '@onecopy/protocol'
import { errorCode } from '../../terminal/error-message.ts'
import { displayName } from '../../terminal/text.ts'
import { isQuestion } from '../questions.ts'
import { leasesText } from '../status/leases-text.ts'

const MEANINGS = {
  published: 'new clients get it from now on',
  loaded: 'in memory',
  evicted: 'its memory was needed; it is loaded again when somebody asks for it',
  released: 'nobody holds it any more',
  recovered: 'a client handed its memory back',
} as const

/** What happened, as one line of a log; null for what is not worth one. */
export function eventText(event: CoordinatorEvent): string | null {
  switch (event.type) {
    case 'refused':
      return `refused${event.pid === null ? '' : ` process ${event.pid} of user ${event.uid}`}: ${errorText(event.error)}`
    case 'unledgered':
      return errorText(event.error)
    case 'retired':
      return `retired ${displayName(event.checkpoint)}: new clients do not get it any more`
    case 'attached':
      return isQuestion(event.client) ? null : `attached ${clientText(event.client)}`
    case 'detached':
      return isQuestion(event.client) ? null : `detached ${clientText(event.client)}${heldText(event.client)}`
    case 'writer':
      return `written to: somebody opens ${event.path}, which ${versionText(event)} maps, for writing`
    case 'unguarded':
      return `not guarded: ${versionText(event)}, against writers: ${errorText(event.error)}`
    default:
      return `${event.type} ${versionText(event)}: ${MEANINGS[event.type]}`
  }
}

function versionText({ checkpoint, version }: { readonly checkpoint: string; readonly version: number }): string {
  return `${displayName(checkpoint)}@${version}`
}

/** An error as it stands in a log. */
export function errorText(error: unknown): string {
  const code = errorCode(error)
  const message = error instanceof Error ? error.message : String(error)
  return code === null ? message : `${message} (${code})`
}

function clientText({ id, name, pid, uid }: ClientStatus): string {
  return `client ${id}: ${displayName(name)} (process ${pid}, user ${uid})`
}

function heldText({ leases }: ClientStatus): string {
  return leases.length === 0 ? '' : `, which held ${leasesText(leases)}`
}
