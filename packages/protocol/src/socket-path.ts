import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** What the option `socket` of coordinators and clients must be. */
export const SOCKET_RULE = {
  must: 'the path of a unix socket',
  isKind: (value: unknown): boolean => typeof value === 'string',
  isWithin: (path: string): boolean => path !== '' && !path.includes('\0'),
} as const

/**
 * Where a coordinator listens unless it is told otherwise, and where clients look for it: ONECOPY_SOCKET, else
 * `$XDG_RUNTIME_DIR/onecopy/onecopy.sock`, else a folder of this user in the system's temporary folder.
 */
export function defaultSocketPath(env: NodeJS.ProcessEnv = process.env): string {
  if (env['ONECOPY_SOCKET']) return env['ONECOPY_SOCKET']
  const folder = env['XDG_RUNTIME_DIR']
    ? join(env['XDG_RUNTIME_DIR'], 'onecopy')
    : join(tmpdir(), `onecopy-${process.getuid?.() ?? 0}`)
  return join(folder, 'onecopy.sock')
}
