/** The files of a folder that belong together: a single file, an index, or numbered shards, all of one name. */
export interface WeightFiles {
  /** What the names have in common: the stem, and the variant behind a dot where there is one. */
  readonly base: string
  readonly single: string | null
  /** More than one where the ways to write a variant are mixed. */
  readonly indexes: readonly string[]
  readonly shards: readonly NumberedShard[]
}

/** A file that is one of several by its name. */
export interface NumberedShard {
  /** As in {@link WeightFiles}. */
  readonly base: string
  readonly name: string
  readonly number: number // from 1, of some from 0
  readonly count: number
}

/** transformers and diffusers put the variant of an index in one of three places; huggingface_hub before `.safetensors`. */
const INDEX = /^(?<base>.+)\.safetensors(?:\.(?<early>[^.]+))?\.index(?:\.(?<late>.+))?\.json$/s

/** Some write an underscore before the numbers, and older versions of transformers the variant behind them. */
const NUMBERED = /^(?<base>.+)[-_](?<number>\d{1,9})-of-(?<count>\d{1,9})(?:\.(?<late>[^.]+))?\.safetensors$/s

/** What a shard's name says of its place; null for a name without numbers, or with those of no shard. */
export function numberedShard(name: string): NumberedShard | null {
  const { base, late, ...numbers } = NUMBERED.exec(name)?.groups ?? {}
  const [number, count] = [Number(numbers['number']), Number(numbers['count'])]
  if (base === undefined || count < 1 || number > count) return null
  return { base: joined(base, late), name, number, count }
}

/** Which files of a folder are weights, by their names alone; in the order of the names. */
export function weightFilesOf(names: readonly string[]): readonly WeightFiles[] {
  const found = new Map<string, { single: string | null; indexes: string[]; shards: NumberedShard[] }>()
  const entry = (base: string) => {
    const known = found.get(base) ?? { single: null, indexes: [], shards: [] }
    found.set(base, known)
    return known
  }
  for (const name of names.toSorted()) {
    const { base, early, late } = INDEX.exec(name)?.groups ?? {}
    const shard = numberedShard(name)
    if (base !== undefined) entry(joined(joined(base, early), late)).indexes.push(name)
    else if (shard !== null) entry(shard.base).shards.push(shard)
    else if (/^.+\.safetensors$/s.test(name)) entry(name.slice(0, -'.safetensors'.length)).single = name
  }
  return [...found].map(([base, files]) => ({ base, ...files }))
}

/** How many shards of one name there are by what their names say. */
export function shardCountOf(shards: readonly NumberedShard[]): number {
  const [first, last] = numbersOf(shards)
  return last - first + 1
}

/** The numbers that are missing among shards of one name, by how many their names say there are; in their order. */
export function missingNumbers(shards: readonly NumberedShard[]): readonly number[] {
  const [first, last] = numbersOf(shards)
  const there = new Set(shards.map(({ number }) => number))
  const missing: number[] = []
  for (let number = first; number <= last && missing.length <= MAX_MISSING; number++) {
    if (!there.has(number)) missing.push(number)
  }
  return missing
}

/** First and last. Who begins at 0 ends below the count, or at it, as gpt-oss does: its "of 2" are three. */
function numbersOf(shards: readonly NumberedShard[]): readonly [number, number] {
  const { count = 0 } = shards[0] ?? {}
  if (shards.every(({ number }) => number > 0)) return [1, count]
  return [0, shards.some(({ number }) => number === count) ? count : count - 1]
}

/** A name may claim a hundred million shards. */
const MAX_MISSING = 1000

/** Without macOS's companions of files, unless there is nothing else. */
export function withoutAppleDouble(names: readonly string[]): readonly string[] {
  const others = names.filter((name) => !name.startsWith('._'))
  return others.some((name) => /\.safetensors/.test(name)) ? others : names
}

function joined(base: string, variant: string | undefined): string {
  return variant === undefined ? base : `${base}.${variant}`
}
