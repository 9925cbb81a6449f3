/** Which memory a descriptor is of, as the kernel tells it: device, inode, time of birth in ns, length in bytes. */
export type MemoryId = string

/** A version whose memory went to clients. */
export interface LedgerRecord {
  readonly checkpoint: string
  readonly version: number
  readonly fingerprint: string
  readonly label: string
  /** The directory, then the shards; empty where the shards are files. */
  readonly memory: readonly MemoryId[]
  /** Names of the shards that are memory. */
  readonly shards: readonly string[]
  readonly arenas: readonly MemoryId[]
  /** Whether somebody has a lease. */
  readonly out: boolean
}

/** Of the text that `writeRecords` makes. */
const FORMAT = 1

export function writeRecords(bootId: string, records: readonly LedgerRecord[]): string {
  return `${JSON.stringify({ format: FORMAT, bootId, records })}\n`
}

/**
 * What `writeRecords` wrote. From another boot, or of another version of this software, it is of no use and no mistake.
 * @throws Error for anything else that is not a ledger
 */
export function readRecords(text: string, bootId: string): readonly LedgerRecord[] {
  const ledger: unknown = JSON.parse(text)
  if (!isObject(ledger)) throw new TypeError('it is no ledger')
  if (ledger['format'] !== FORMAT || ledger['bootId'] !== bootId) return []
  const { records } = ledger
  if (!Array.isArray(records) || !records.every(isRecord)) throw new TypeError('it has something else than records')
  return records
}

/** Bytes of the shards. */
export function shardBytes({ memory }: LedgerRecord): number {
  return memory.slice(1).reduce((sum, id) => sum + byteLengthOf(id), 0)
}

export function byteLengthOf(id: MemoryId): number {
  return Number(id.slice(id.lastIndexOf(':') + 1))
}

function isRecord(value: unknown): value is LedgerRecord {
  if (!isObject(value)) return false
  const { checkpoint, version, fingerprint, label, memory, shards, arenas, out } = value
  return (
    [checkpoint, fingerprint, label].every((text) => typeof text === 'string') &&
    Number.isSafeInteger(version) &&
    typeof out === 'boolean' &&
    [memory, shards, arenas].every((list) => Array.isArray(list) && list.every((each) => typeof each === 'string')) &&
    (memory as string[]).length === ((shards as string[]).length === 0 ? 0 : (shards as string[]).length + 1)
  )
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
