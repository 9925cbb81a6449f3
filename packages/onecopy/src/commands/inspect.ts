import { openHeaders } from '@onecopy/checkpoint'
import { compareUtf8, type ShardIndex } from '@onecopy/safetensors'
import type { Source } from '../option-values.ts'
import { print } from '../terminal/print.ts'
import { printable } from '../terminal/printable.ts'
import { type Style, styleOf } from '../terminal/style.ts'
import { factLines, tableLines } from '../terminal/table.ts'
import { displayName, printableJson } from '../terminal/text.ts'
import { formatBytes, formatBytesExactly, formatCount, formatInteger, formatParameters } from '../terminal/units.ts'
import { type CheckpointSummary, readConfigOf, readIndexOf, summarize, type TensorRow } from './checkpoint-summary.ts'
import { GLOB_HINT, nameFilter } from './name-filter.ts'

/** The options of `onecopy inspect`. */
export interface InspectOptions {
  readonly json?: boolean
  readonly tensors?: string
  readonly sort: 'name' | 'size' | 'file'
  readonly variant?: string
  readonly prefer?: 'index' | 'single'
}

/** Metadata values above this are cut, in UTF-16 code units; `--json` has them whole. */
const MAX_SHOWN_VALUE = 200

/** Prints what a checkpoint holds. */
export async function inspect(source: Source, options: InspectOptions): Promise<void> {
  const { variant, prefer } = options
  using checkpoint = await openHeaders(source, { ...(variant && { variant }), ...(prefer && { prefer }) })
  const summary = summarize(checkpoint, await readConfigOf(checkpoint))
  const index = await readIndexOf(checkpoint)
  const tensors = sorted(filtered(summary.tensors, options.tensors), options.sort)
  if (options.json) process.stdout.write(`${printableJson(jsonOf(summary, index, tensors))}\n`)
  else print(reportLines(summary, index, tensors, options.tensors, styleOf(process.stdout)))
}

function filtered(tensors: readonly TensorRow[], glob: string | undefined): readonly TensorRow[] {
  if (glob === undefined) return tensors
  const matches = nameFilter(glob)
  return tensors.filter(({ name }) => matches(name))
}

function sorted(tensors: readonly TensorRow[], order: InspectOptions['sort']): readonly TensorRow[] {
  if (order === 'file') return tensors
  if (order === 'size') return tensors.toSorted((a, b) => b.byteLength - a.byteLength)
  // Numbers count as numbers: layer 2 comes before layer 10.
  const keyed = tensors.map((row) => [row.name.replace(/\d+/g, (digits) => digits.padStart(12, '0')), row] as const)
  return keyed.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([, row]) => row)
}

function jsonOf(summary: CheckpointSummary, index: ShardIndex | null, tensors: readonly TensorRow[]) {
  return {
    ...summary,
    index: index && { totalSize: index.totalSize, metadata: index.metadata && Object.fromEntries(index.metadata) },
    // Named one by one: what the library adds to a shard must not change what programs read here.
    shards: summary.shards.map(({ name, path, byteLength, dataOffset, tensorCount, metadata }) => ({
      name,
      path,
      byteLength,
      dataOffset,
      tensorCount,
      metadata: metadata && Object.fromEntries(metadata),
    })),
    tensors,
  }
}

function reportLines(
  summary: CheckpointSummary,
  index: ShardIndex | null,
  tensors: readonly TensorRow[],
  glob: string | undefined,
  { bold, dim }: Style,
): string[] {
  const { label, shards, parameterCount, elementCount } = summary
  const listed = tensors.reduce((sum, { byteLength }) => sum + byteLength, 0)
  const selection = `${formatInteger(tensors.length)} of ${formatInteger(summary.tensorCount)} tensors match ${JSON.stringify(glob)}: ${tensors.length === 0 ? GLOB_HINT : formatBytes(listed)}`
  const short = formatParameters(parameterCount)
  const exact = formatInteger(parameterCount)
  // Scales and scalars are stored, and packed weights are more than their elements.
  const basis =
    parameterCount === elementCount ? '' : `, as the Hugging Face hub counts ${formatInteger(elementCount)} elements`
  return [
    bold(printable(label)),
    '',
    ...factLines(
      [
        ['shards', `${formatInteger(shards.length)}, ${formatBytesExactly(summary.fileByteLength)} with headers`],
        ['tensors', formatInteger(summary.tensorCount)],
        ['parameters', `${short === exact ? exact : `${short} (${exact})`}${basis}`],
        ['weights', formatBytesExactly(summary.byteLength)],
      ],
      dim,
    ),
    '',
    ...dtypeLines(summary, dim),
    '',
    ...shardLines(summary, dim),
    '',
    ...(glob === undefined ? [] : [printable(selection), '']),
    ...(tensors.length === 0 ? [] : [...tensorLines(tensors, shards.length > 1, dim), '']),
    ...metadataLines(summary, index, bold, dim),
  ].slice(0, -1)
}

function dtypeLines({ dtypes }: CheckpointSummary, dim: Style['dim']): string[] {
  const rows = dtypes.map(({ dtype, tensorCount, parameterCount, byteLength }) => [
    dtype,
    formatInteger(tensorCount),
    formatInteger(parameterCount),
    formatBytes(byteLength),
  ])
  return tableLines([{ title: 'dtype' }, right('tensors'), right('parameters'), right('size')], rows, dim)
}

function shardLines({ shards }: CheckpointSummary, dim: Style['dim']): string[] {
  const byName = shards.toSorted((a, b) => compareUtf8(a.name, b.name))
  const rows = byName.map(({ name, tensorCount, byteLength, dataOffset }) => [
    displayName(name),
    formatInteger(tensorCount),
    formatBytes(byteLength - dataOffset),
    formatBytes(dataOffset),
  ])
  return tableLines([{ title: 'shard' }, right('tensors'), right('weights'), right('header')], rows, dim)
}

/** The shard of each tensor stands there where there is more than one. */
function tensorLines(tensors: readonly TensorRow[], withShard: boolean, dim: Style['dim']): string[] {
  const rows = tensors.map(({ name, dtype, shape, byteLength, shard }) => [
    displayName(name),
    dtype,
    `[${shape.join(', ')}]`,
    formatBytes(byteLength),
    ...(withShard ? [displayName(shard)] : []),
  ])
  const columns = [
    { title: 'tensor' },
    { title: 'dtype' },
    right('shape'),
    right('size'),
    ...(withShard ? [{ title: 'shard' }] : []),
  ]
  return tableLines(columns, rows, dim)
}

function right(title: string) {
  return { title, align: 'right' } as const
}

/** The metadata of the index, then that of the shards: once where they all have the same. */
function metadataLines(
  { shards }: CheckpointSummary,
  index: ShardIndex | null,
  bold: Style['bold'],
  dim: Style['dim'],
): string[] {
  const block = (title: string, metadata: ReadonlyMap<string, unknown> | null): string[] => {
    const rows = [...(metadata ?? [])].map(([key, value]) => [displayName(key), shownValue(value)] as const)
    return rows.length === 0 ? [] : [bold(title), ...factLines(rows, dim), '']
  }
  const own = new Map<string, { readonly names: string[]; readonly metadata: ReadonlyMap<string, string> | null }>()
  for (const { name, metadata } of shards) {
    const key = JSON.stringify(metadata && [...metadata])
    const same = own.get(key)
    if (same === undefined) own.set(key, { names: [name], metadata })
    else same.names.push(name)
  }
  const everyShard = shards.length === 1 ? 'metadata' : `metadata of all ${formatCount(shards.length, 'shard')}`
  return [
    ...block('metadata of the index', index?.metadata ?? null),
    ...[...own.values()].flatMap(({ names, metadata }) =>
      block(own.size === 1 ? everyShard : `metadata of ${names.map(displayName).join(', ')}`, metadata),
    ),
  ]
}

function shownValue(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return printable(text.length > MAX_SHOWN_VALUE ? `${text.slice(0, MAX_SHOWN_VALUE)}…` : text)
}
