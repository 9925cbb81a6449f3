import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { CheckpointError, messageOf, systemCode } from './errors.ts'

/** Far beyond any configuration; a file that is larger is something else, and is not read. */
const MAX_CONFIG_BYTES = 16 * 2 ** 20

/**
 * The model's configuration, parsed: what stands in `config.json` beside a shard.
 * @returns null when there is no such file
 * @throws CheckpointError CONFIG_INVALID when it cannot be read, is too large, or is not a JSON object
 */
export function readConfigBeside(shardPath: string): Readonly<Record<string, unknown>> | null {
  const path = join(dirname(shardPath), 'config.json')
  try {
    const descriptor = openSync(path, 'r')
    try {
      const { size } = fstatSync(descriptor)
      if (size > MAX_CONFIG_BYTES) throw new Error(`it has ${size} bytes, and must have at most ${MAX_CONFIG_BYTES}`)
      const config: unknown = JSON.parse(readFileSync(descriptor, 'utf8'))
      if (typeof config === 'object' && config !== null && !Array.isArray(config)) {
        return config as Readonly<Record<string, unknown>>
      }
    } finally {
      closeSync(descriptor)
    }
    throw new Error('it must hold a JSON object')
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return null
    const message = `Cannot read the configuration "${path}": ${messageOf(cause)}`
    throw new CheckpointError('CONFIG_INVALID', message, { path, cause })
  }
}
