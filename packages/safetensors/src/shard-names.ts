import { checkArgument, checkOptions, rules } from './check-options.ts'
import { quoteName, SafetensorsError } from './errors.ts'

export interface IndexName {
  /** What comes before the numbers. @default 'model' */
  readonly stem?: string | undefined
  /** A variant of the weights, such as `fp16`. @default none */
  readonly variant?: string | null | undefined
}

export interface ShardName extends IndexName {
  /** The shard's number, from 1 to `count`. */
  readonly index: number
  /** How many shards the checkpoint has. */
  readonly count: number
}

export interface ParsedShardName {
  readonly stem: string
  readonly variant: string | null
  readonly index: number
  readonly count: number
}

/**
 * The file name of a shard, as transformers, diffusers and huggingface_hub write it: `model-00001-of-00003.safetensors`,
 * `model.fp16-00001-of-00003.safetensors`, and without numbers where there is only one.
 *
 * @throws RangeError unless index and count are integers and 1 ≤ index ≤ count.
 */
export function shardFileName(name: ShardName): string {
  checkArgument('The name of a shard', name, rules.object)
  checkNaming('shardFileName()', name, { index: null, count: null })
  const { index, count } = name
  if (!Number.isSafeInteger(index) || !Number.isSafeInteger(count) || index < 1 || index > count) {
    throw new RangeError(`Shard ${index} of ${count} must be a number from 1 to the number of shards`)
  }
  if (count === 1) return `${base(name)}.safetensors`
  return `${base(name)}-${fiveDigits(index)}-of-${fiveDigits(count)}.safetensors`
}

/** The file name of a shard index: `model.safetensors.index.json`, `model.safetensors.index.fp16.json`. */
export function indexFileName(name: IndexName = {}): string {
  checkNaming('indexFileName()', name, {})
  const { stem = 'model', variant = null } = name
  return variant === null ? `${stem}.safetensors.index.json` : `${stem}.safetensors.index.${variant}.json`
}

function checkNaming(owner: string, name: unknown, more: Readonly<Record<string, null>>): void {
  checkOptions(owner, name, { stem: rules.text, variant: VARIANT, ...more })
}

const VARIANT = { must: 'a text or null', isKind: (value: unknown) => value === null || typeof value === 'string' }
const NUMBERED = /^(?<base>.+)-(?<index>\d{1,9})-of-(?<count>\d{1,9})(?:\.(?<variant>[^.]+))?$/s

/**
 * Takes a shard's file name apart; null when it is none. What follows the last dot of the stem is the variant, so
 * `my.model.safetensors` is the variant `model` of `my`. The variant after the numbers, which older versions of
 * transformers wrote, and numbers that are not padded are understood too.
 */
export function parseShardFileName(name: string): ParsedShardName | null {
  checkArgument('The name of a shard', name, rules.text)
  if (!name.endsWith('.safetensors')) return null
  const trunk = name.slice(0, -'.safetensors'.length)
  const numbered = NUMBERED.exec(trunk)?.groups
  if (numbered === undefined) return trunk === '' ? null : { ...splitVariant(trunk), index: 1, count: 1 }
  const index = Number(numbered['index'])
  const count = Number(numbered['count'])
  if (index < 1 || index > count) return null
  const { stem, variant } = splitVariant(numbered['base']!)
  const late = numbered['variant']
  return late === undefined ? { stem, variant, index, count } : { stem: numbered['base']!, variant: late, index, count }
}

function splitVariant(trunk: string): { stem: string; variant: string | null } {
  const dot = trunk.lastIndexOf('.')
  const plain = dot <= 0 || dot === trunk.length - 1
  return plain ? { stem: trunk, variant: null } : { stem: trunk.slice(0, dot), variant: trunk.slice(dot + 1) }
}

function base({ stem = 'model', variant = null }: IndexName): string {
  return variant === null ? stem : `${stem}.${variant}`
}

function fiveDigits(value: number): string {
  return String(value).padStart(5, '0')
}

// Windows opens a device under these names, in any folder and whatever the extension.
const DEVICE = /^(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\u00b9\u00b2\u00b3])[ ]*(?:\.|$)/i

/**
 * Checks a shard's name from an index: it must be the plain name of a file in the index's own folder, on every system,
 * since an index is downloaded from strangers and its names are opened.
 *
 * @param tensor whose shard it is, for the error
 * @throws SafetensorsError SAFETENSORS_UNSAFE_SHARD_NAME for an empty name, `.`, `..`, and names with a separator (`/`,
 * `\`), a control character, one of `:*?"<>|` (drives, schemes, NTFS streams, wildcards), a dot or space at the end
 * (which Windows drops), or the name of a Windows device.
 */
export function assertPlainShardName(name: string, tensor?: string): void {
  checkArgument('The name of a shard', name, rules.text)
  const reason = unsafeBecause(name)
  if (reason === null) return
  const of = tensor === undefined ? '' : ` of tensor ${quoteName(tensor)}`
  throw new SafetensorsError(
    'SAFETENSORS_UNSAFE_SHARD_NAME',
    `Shard name ${quoteName(name)}${of} ${reason}, but must be the plain name of a file beside the index`,
    { tensor, details: { shardName: name, reason } },
  )
}

function unsafeBecause(name: string): string | null {
  if (name === '') return 'is empty'
  if (name === '.' || name === '..') return 'is a folder'
  if (/[/\\]/.test(name)) return 'has a path separator'
  if (/[\p{Cc}\p{Surrogate}]/u.test(name)) return 'has a control character or lone surrogate'
  const special = /[:*?"<>|]/.exec(name)
  if (special !== null) return `has the character ${special[0]}`
  if (/[. ]$/.test(name)) return 'ends with a dot or a space'
  if (DEVICE.test(name)) return 'is a device on Windows'
  return null
}
