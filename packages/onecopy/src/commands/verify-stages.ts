/** The checks in the order in which they are made. */
export const CHECKS = ['files', 'headers', 'index', 'mapping', 'bytes'] as const

/** A group of checks, as the report names it. */
export type Check = (typeof CHECKS)[number]

/** The group that each error of opening belongs to; what stands in none belongs to the mapping. */
const CODES: Readonly<Record<string, Check>> = {
  SOURCE_INVALID: 'files',
  SOURCE_NOT_FOUND: 'files',
  SOURCE_AMBIGUOUS: 'files',
  HUB_NOT_CACHED: 'files',
  INDEX_UNREADABLE: 'files',
  SAFETENSORS_INVALID_INDEX: 'files',
  SAFETENSORS_UNSAFE_SHARD_NAME: 'files',
  SHARD_NOT_FOUND: 'files',
  SAVE_INTERRUPTED: 'files',
  SHARD_UNREADABLE: 'headers',
  SHARD_TWICE: 'index',
  SHARD_FOREIGN: 'index',
  SHARD_LEFT_OUT: 'index',
  TENSOR_IN_NO_SHARD: 'index',
  TENSOR_IN_OTHER_SHARD: 'index',
  TENSOR_IN_TWO_SHARDS: 'index',
  TENSOR_NOT_IN_INDEX: 'index',
}

/** The check that an error of `openCheckpoint` failed. */
export function checkOf(error: Error): Check {
  const { code = '', path = '' } = error as { code?: string; path?: string }
  const known = CODES[code]
  if (known !== undefined) return known
  // Both a header and an index can hold a key twice.
  if (code.startsWith('SAFETENSORS_')) return path.endsWith('.json') ? 'files' : 'headers'
  return 'mapping'
}
