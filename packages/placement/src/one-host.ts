import { checkOptions, rules } from '@onecopy/safetensors'
import { PlacementError } from './errors.ts'
import { show } from './fields.ts'
import type { Topology } from './topology.ts'

export interface OneHostOptions {
  /** The host's name. @default `localhost` */
  readonly host?: string
  /** What the workers may hold together, each byte counted once. @default no limit */
  readonly memoryBytes?: number
}

/** More than a host has cores, and few enough to be written down. */
const MAX_WORKERS = 65_536

/**
 * A topology of one host, with workers named w0, w1 and so on.
 *
 * @param workerCount from 1 to 65,536
 * @throws PlacementError TOPOLOGY_INVALID for any other count
 */
export function oneHost(workerCount: number, options: OneHostOptions = {}): Topology {
  if (!Number.isInteger(workerCount) || workerCount < 1 || workerCount > MAX_WORKERS) {
    const message = `The number of a host's workers is ${show(workerCount)}: there must be from 1 to ${MAX_WORKERS}`
    throw new PlacementError('TOPOLOGY_INVALID', message, { field: 'workers' })
  }
  checkOptions('oneHost()', options, { host: rules.text, memoryBytes: rules.wholeNumber(0) })
  const { host = 'localhost', memoryBytes } = options
  return {
    hosts: [{ name: host, ...(memoryBytes !== undefined && { memoryBytes }) }],
    workers: Array.from({ length: workerCount }, (_, at) => ({ name: `w${at}`, host })),
  }
}
