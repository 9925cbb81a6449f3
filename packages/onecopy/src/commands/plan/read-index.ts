import { readFile } from 'node:fs/promises'
import { openHeaders } from '@onecopy/checkpoint'
import {
  type Dtype,
  type IndexedTensor,
  isDtype,
  quoteName,
  SafetensorsError,
  type TensorIndex,
  tensorByteLength,
  tensorIndex,
} from '@onecopy/safetensors'
import { CommandError } from '../../errors.ts'
import type { Source } from '../../option-values.ts'

/** What a plan is made from, and where the model's own configuration may lie. */
export interface PlannedSource {
  readonly label: string
  readonly index: TensorIndex
  /** A shard or the index, beside which `config.json` may stand; null when only a description is here. */
  readonly besides: string | null
}

/**
 * The tensors of a checkpoint: of one that is on this machine, or of one that is elsewhere, described by what
 * `onecopy inspect --json` printed there.
 */
export async function readIndex(
  source: Source,
  options: { readonly variant?: string; readonly prefer?: 'index' | 'single' },
): Promise<PlannedSource> {
  if (typeof source === 'string' && source.endsWith('.json')) {
    const described = await readDescription(source)
    if (described !== null) return { label: source, index: described, besides: null }
  }
  const { variant, prefer } = options
  using checkpoint = await openHeaders(source, { ...(variant && { variant }), ...(prefer && { prefer }) })
  return { label: checkpoint.label, index: checkpoint.index, besides: checkpoint.shards[0]?.path ?? null }
}

/** Null for a shard index, and for what cannot be read, which the checkpoint's own errors describe best. */
async function readDescription(path: string): Promise<TensorIndex | null> {
  const text = await readFile(path, 'utf8').catch(() => null)
  if (text === null) return null
  let value: { readonly tensors?: unknown; readonly shards?: unknown } | null
  try {
    value = JSON.parse(text)
  } catch {
    return null
  }
  if (!Array.isArray(value?.tensors) || !Array.isArray(value.shards)) return null
  return indexOfDescription(value as Description, path)
}

interface Description {
  /** Of the checkpoint, which is more than the tensors that are listed when some were asked for. */
  readonly tensorCount?: number
  readonly shards: readonly { readonly name: string; readonly byteLength: number }[]
  readonly tensors: readonly (Omit<IndexedTensor, 'shard'> & { readonly shard: string })[]
}

function indexOfDescription({ tensorCount, shards, tensors }: Description, path: string): TensorIndex {
  const refuse = (reason: string): never => {
    throw new CommandError('DESCRIPTION_INVALID', `"${path}" is not what onecopy inspect --json prints: ${reason}`)
  }
  // A plan for some of the tensors would fit no checkpoint.
  if (tensorCount !== tensors.length) {
    refuse(`it lists ${tensors.length} of ${shown(tensorCount)} tensors; list all, without --tensors`)
  }
  const places = new Map<string, number>()
  for (const [at, shard] of shards.entries()) {
    if (typeof shard?.name !== 'string' || !isCount(shard.byteLength)) refuse(`shard ${at} has no name or byteLength`)
    if (places.has(shard.name)) refuse(`shard ${quoteName(shard.name)} comes twice`)
    places.set(shard.name, at)
  }
  const names = new Set<string>()
  const indexed = tensors.map((tensor, at): IndexedTensor => {
    const { name, dtype, shape, begin, end } = tensor ?? {}
    if (typeof name !== 'string') return refuse(`tensor ${at} has no name`)
    const what = `tensor ${quoteName(name)}`
    if (names.has(name)) refuse(`${what} comes twice`)
    names.add(name)
    if (typeof dtype !== 'string' || !isDtype(dtype)) return refuse(`${what} has dtype ${shown(dtype)}`)
    if (!Array.isArray(shape) || !shape.every(isCount)) return refuse(`${what} has shape ${shown(shape)}`)
    const shard = places.get(tensor.shard) ?? refuse(`${what} is in shard ${shown(tensor.shard)}, which is not listed`)
    const needed = byteLengthOf(dtype, shape) ?? refuse(`${what} cannot be ${dtype} with shape ${shown(shape)}`)
    const fits = isCount(begin) && isCount(end) && end - begin === needed && end <= shards[shard]!.byteLength
    if (!fits) refuse(`${what} needs ${needed} bytes and has [${shown(begin)}, ${shown(end)})`)
    return { name, dtype, shape, shard, begin, end }
  })
  return tensorIndex(shards, indexed)
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** Null for sizes that there cannot be. */
function byteLengthOf(dtype: Dtype, shape: readonly number[]): number | null {
  try {
    return tensorByteLength(dtype, shape)
  } catch (error) {
    if (error instanceof SafetensorsError) return null
    throw error
  }
}

/** Characters of a value that a message shows. */
const MAX_SHOWN = 80

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value)
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text
}
