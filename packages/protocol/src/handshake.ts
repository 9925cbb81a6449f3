import { ProtocolError, type ProtocolRange } from './errors.ts'
import type { Hello } from './messages.ts'

/** The version of the protocol that is written down in `docs/protocol.md`. */
export const PROTOCOL = 1

/** The oldest version that this software still speaks. */
export const OLDEST_PROTOCOL = 1

/** What this software is called in the handshake; the version is that of the package `onecopy`. */
export const SOFTWARE = 'onecopy 0.1.0'

/** How long a coordinator waits for a client's hello. */
export const HELLO_TIMEOUT_MS = 5000

/**
 * The newest version that both speak, or why there is none: PROTOCOL_VERSION_MISMATCH, which names both. Called by the
 * coordinator, whose answer is `welcome` or `refused`.
 */
export function agreeOnProtocol(hello: Pick<Hello, 'protocol' | 'oldestProtocol'>): number | ProtocolError {
  const agreed = Math.min(hello.protocol, PROTOCOL)
  if (agreed >= Math.max(hello.oldestProtocol, OLDEST_PROTOCOL)) return agreed
  const coordinator = { oldest: OLDEST_PROTOCOL, newest: PROTOCOL }
  const client = { oldest: hello.oldestProtocol, newest: hello.protocol }
  const message = `The coordinator speaks protocol ${spoken(coordinator)}, the client ${spoken(client)}: ${
    hello.protocol > PROTOCOL ? 'update the coordinator' : 'update the client'
  }, or run the same version of onecopy in both`
  return new ProtocolError('PROTOCOL_VERSION_MISMATCH', message, {
    coordinatorProtocols: coordinator,
    clientProtocols: client,
  })
}

/** What a client finds wrong with the version that a welcome names, or null. */
export function checkAgreed(protocol: number): ProtocolError | null {
  if (protocol >= OLDEST_PROTOCOL && protocol <= PROTOCOL) return null
  const client = { oldest: OLDEST_PROTOCOL, newest: PROTOCOL }
  const message = `The coordinator chose protocol ${protocol}, the client speaks ${spoken(client)}`
  return new ProtocolError('PROTOCOL_VERSION_MISMATCH', message, {
    coordinatorProtocols: { oldest: protocol, newest: protocol },
    clientProtocols: client,
  })
}

function spoken({ oldest, newest }: ProtocolRange): string {
  return oldest === newest ? `version ${newest}` : `versions ${oldest} to ${newest}`
}
