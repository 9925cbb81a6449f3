import { fstatSync, readFileSync } from 'node:fs'
import { sendDatagram } from '@onecopy/sharedarraybuffer-utils'

/** First descriptor that systemd hands over, SD_LISTEN_FDS_START. */
const FIRST_DESCRIPTOR = 3

/**
 * The descriptor of the listening socket that systemd opened for this process (socket activation, sd_listen_fds(3)), or null.
 * The environment is cleaned, so that children do not believe it is theirs.
 */
export function activatedSocket(env: NodeJS.ProcessEnv = process.env): number | null {
  const { LISTEN_PID, LISTEN_FDS } = env
  delete env['LISTEN_PID']
  delete env['LISTEN_FDS']
  delete env['LISTEN_FDNAMES']
  return LISTEN_PID === `${process.pid}` && Number(LISTEN_FDS) >= 1 ? FIRST_DESCRIPTOR : null
}

/** Where a socket that somebody else has bound listens; null where the kernel does not tell, as in another network namespace. */
export function boundPath(descriptor: number): string | null {
  try {
    const inode = fstatSync(descriptor, { bigint: true }).ino
    // Num, RefCount, Protocol, Flags, Type, St, Inode, Path
    const line = new RegExp(`^(?:\\S+ +){6}${inode} (?<path>/.*)$`, 'm')
    return line.exec(readFileSync('/proc/net/unix', 'utf8'))?.groups?.['path'] ?? null
  } catch {
    return null
  }
}

/**
 * Tells the service manager a state, such as `READY=1` or `STOPPING=1` (sd_notify(3)); nothing happens without one.
 * A service manager that cannot be reached is no reason to stop serving.
 */
export function notifySystemd(state: string, env: NodeJS.ProcessEnv = process.env): void {
  const address = env['NOTIFY_SOCKET']
  if (address === undefined || address === '') return
  try {
    sendDatagram(address, state)
  } catch (error) {
    process.emitWarning(`Cannot notify systemd: ${error instanceof Error ? error.message : error}`)
  }
}
