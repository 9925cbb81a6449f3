import { checkArgument, rules } from './check-options.ts'
import { quoteName, SafetensorsError } from './errors.ts'
import { JsonScanner, plainBytes, StringCache } from './json-scanner.ts'
import { assertPlainShardName } from './shard-names.ts'
import { compareUtf8, findInvalidUtf8, isWellFormed } from './utf8.ts'

export interface ShardIndex {
  /** Tensor name → file name of its shard, in the order of the JSON. */
  readonly weightMap: ReadonlyMap<string, string>
  /** Every shard's file name once, in the order in which `weightMap` first names them. */
  readonly shardNames: readonly string[]
  /** The bytes of data in all shards, headers excluded, as the index claims: advisory. Null where it claims nothing. */
  readonly totalSize: number | null
  /** The members of `metadata`, `total_size` included, as JSON.parse gives them; null where there is none. */
  readonly metadata: ReadonlyMap<string, unknown> | null
}

/** The greatest length of a shard index in bytes, inclusive; about twice the largest seen (60 MB, 497,000 tensors). */
export const MAX_INDEX_BYTES: number = 128_000_000

/**
 * Reads a shard index (`model.safetensors.index.json`). Unknown members beside `weight_map` and `metadata` are ignored.
 * `total_size` may be an integer, a float or a string of digits; anything else counts as absent.
 *
 * @throws SafetensorsError SAFETENSORS_INVALID_INDEX for bytes that are not UTF-8 or JSON, for a missing `weight_map`,
 * for members of the wrong type, and above {@link MAX_INDEX_BYTES}; SAFETENSORS_DUPLICATE_KEY for a key that appears
 * twice in the index, in `weight_map` or in `metadata`; SAFETENSORS_UNSAFE_SHARD_NAME for a shard that is not the plain
 * name of a file, see {@link assertPlainShardName}.
 */
export function parseShardIndex(json: Uint8Array): ShardIndex {
  checkArgument('The shard index', json, rules.bytes)
  if (json.byteLength > MAX_INDEX_BYTES) {
    throw invalid(`has ${json.byteLength} bytes, but must have at most ${MAX_INDEX_BYTES}`)
  }
  const bytes = plainBytes(json)
  const invalidByte = findInvalidUtf8(bytes)
  if (invalidByte !== -1) throw invalid(`is not valid UTF-8 at byte ${invalidByte}`, { position: invalidByte })

  const scanner = new JsonScanner(bytes, 'SAFETENSORS_INVALID_INDEX', 'Shard index')
  let weights: Pick<ShardIndex, 'weightMap' | 'shardNames'> | undefined
  let metadata: Map<string, unknown> | null | undefined
  scanner.beginObject('the index')
  for (let first = true; scanner.nextMember(first); first = false) {
    const key = scanner.readKey()
    if (key === 'weight_map') {
      if (weights !== undefined) throw duplicate(key, 'the shard index')
      weights = readWeightMap(scanner)
    } else if (key === 'metadata') {
      if (metadata !== undefined) throw duplicate(key, 'the shard index')
      metadata = readMetadata(scanner)
    } else {
      scanner.skipValue(1)
    }
  }
  scanner.end()
  if (weights === undefined) throw invalid('has no weight_map')
  return { ...weights, totalSize: readTotalSize(metadata?.get('total_size')), metadata: metadata ?? null }
}

function readWeightMap(scanner: JsonScanner): Pick<ShardIndex, 'weightMap' | 'shardNames'> {
  const names: string[] = []
  const shards: string[] = []
  const shardNames = new Set<string>()
  const cache = new StringCache()
  let last: string | undefined
  scanner.beginObject('weight_map')
  for (let first = true; scanner.nextMember(first); first = false) {
    const name = scanner.readKey()
    names.push(name)
    scanner.tensor = name
    const shard = scanner.readRepeated('the name of a shard', cache)
    scanner.tensor = undefined
    shards.push(shard)
    if (shard === last) continue
    last = shard
    if (shardNames.has(shard)) continue
    assertPlainShardName(shard, name)
    shardNames.add(shard)
  }
  // Built in one go: a map that grows while the strings are made costs about twice the time in garbage collection.
  const weightMap = new Map<string, string>()
  for (let i = 0; i < names.length; i++) {
    weightMap.set(names[i]!, shards[i]!)
    if (weightMap.size === i) throw duplicate(names[i]!, 'weight_map', names[i])
  }
  return { weightMap, shardNames: [...shardNames] }
}

function readMetadata(scanner: JsonScanner): Map<string, unknown> | null {
  if (scanner.matchNull()) return null
  const metadata = new Map<string, unknown>()
  scanner.beginObject('metadata')
  for (let first = true; scanner.nextMember(first); first = false) {
    const key = scanner.readKey()
    scanner.peek()
    const start = scanner.position
    scanner.skipValue(2)
    // The scanner has found it valid and not deep, so that JSON.parse can neither throw nor overflow the stack.
    const value: unknown = JSON.parse(scanner.text(start, scanner.position))
    if (metadata.has(key)) throw duplicate(key, 'metadata')
    metadata.set(key, value)
  }
  return metadata
}

function readTotalSize(value: unknown): number | null {
  const isDecimal = typeof value === 'string' && /^\d{1,30}(?:\.\d{1,30})?$/.test(value)
  const size = isDecimal ? Number(value) : value
  return typeof size === 'number' && size >= 0 ? size : null
}

export interface ShardIndexInput {
  /** Tensor name → file name of its shard. */
  readonly weightMap: ReadonlyMap<string, string>
  /** Written as `metadata.total_size`; an integer of bytes, or null to write none. */
  readonly totalSize: number | null
  /** Further members of `metadata`, values that JSON can represent; a `total_size` among them yields to `totalSize`. */
  readonly metadata?: ReadonlyMap<string, unknown> | null | undefined
}

/**
 * Writes a shard index as Python's `json.dump(index, file, indent=2, sort_keys=True)` does, which huggingface_hub and
 * transformers use: ASCII, keys in the order of their UTF-8 bytes. The keys inside a metadata value keep their order.
 *
 * @throws SafetensorsError SAFETENSORS_UNSAFE_SHARD_NAME, see {@link assertPlainShardName}, and SAFETENSORS_INVALID_INDEX
 * for a name with a lone surrogate, a totalSize that is no integer from 0 to 2^53 - 1, or a metadata value that is not
 * JSON.
 */
export function serializeShardIndex(index: ShardIndexInput): Uint8Array<ArrayBuffer> {
  checkArgument('The shard index', index, rules.object)
  const { weightMap, totalSize, metadata = null } = index
  checkArgument('The weightMap of a shard index', weightMap, MAP)
  if (metadata !== null) checkArgument('The metadata of a shard index', metadata, MAP)
  const entries = new Map<string, unknown>(metadata)
  if (totalSize !== null) {
    if (!Number.isSafeInteger(totalSize) || totalSize < 0) {
      throw invalid(`has totalSize ${totalSize}, which must be an integer from 0 to 2^53 - 1`)
    }
    entries.set('total_size', totalSize)
  }
  const checked = new Set<string>()
  for (const [tensor, shard] of weightMap) {
    if (!checked.has(shard)) assertPlainShardName(shard, tensor)
    checked.add(shard)
  }
  const members = [`"weight_map": ${objectJson(weightMap)}`]
  if (totalSize !== null || metadata !== null) members.unshift(`"metadata": ${objectJson(entries)}`)
  return new TextEncoder().encode(`{\n  ${members.join(',\n  ')}\n}`)
}

const MAP = rules.instanceOf(Map, 'a Map')

/** An object one level below the top, its keys sorted. */
function objectJson(entries: ReadonlyMap<string, unknown>): string {
  if (entries.size === 0) return '{}'
  const keys = [...entries.keys()].sort(compareUtf8)
  const lines = keys.map((key) => {
    if (!isWellFormed(key)) throw invalid(`has the key ${quoteName(key)}, in which a surrogate lacks its partner`)
    return `    ${ascii(JSON.stringify(key))}: ${valueJson(key, entries.get(key))}`
  })
  return `{\n${lines.join(',\n')}\n  }`
}

function valueJson(key: string, value: unknown): string {
  let json: string | undefined
  let cause: unknown
  try {
    json = JSON.stringify(value, null, 2) // throws for a bigint or a cycle, undefined for a function
  } catch (error) {
    cause = error
  }
  if (json === undefined)
    throw invalid(`has a value under ${quoteName(key)} that JSON cannot represent`, { key }, cause)
  return ascii(json.replaceAll('\n', '\n    '))
}

/** JSON with every character above U+007E escaped, as Python writes it. */
function ascii(json: string): string {
  return json.replace(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function invalid(what: string, details?: Record<string, unknown>, cause?: unknown): SafetensorsError {
  return new SafetensorsError('SAFETENSORS_INVALID_INDEX', `Shard index ${what}`, { details, cause })
}

function duplicate(key: string, where: string, tensor?: string): SafetensorsError {
  return new SafetensorsError('SAFETENSORS_DUPLICATE_KEY', `Key ${quoteName(key)} appears twice in ${where}`, {
    tensor,
    details: { key },
  })
}
