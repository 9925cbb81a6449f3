import { checkArgument } from './check-options.ts'
import type { Dtype } from './dtype.ts'
import { quoteName } from './errors.ts'
import type { Header } from './header.ts'
import { compareUtf8 } from './utf8.ts'

/** One shard file of a {@link TensorIndex}. */
export interface IndexedShard {
  readonly name: string
  readonly byteLength: number // of the whole file
}

/** One tensor of a {@link TensorIndex}. */
export interface IndexedTensor {
  readonly name: string
  readonly dtype: Dtype
  readonly shape: readonly number[]
  readonly shard: number // position in the index's shards
  readonly begin: number // first byte in the shard file
  readonly end: number // exclusive
}

/** Where every tensor of a checkpoint is: what its headers say, as plain data. Made by {@link tensorIndex}. */
export interface TensorIndex {
  readonly shards: readonly IndexedShard[] // by name in UTF-8, then by length
  readonly tensors: readonly IndexedTensor[] // by shard, first byte, end and name
}

/** A shard whose header was read, here or elsewhere. */
export interface HeaderOfShard extends IndexedShard {
  readonly dataOffset: number // first byte behind the header
  readonly header: Header
}

/** The index of a checkpoint from its headers alone; no file is needed. */
export function indexHeaders(shards: readonly HeaderOfShard[]): TensorIndex {
  checkArgument('What indexHeaders() takes', shards, {
    must: 'a list of shards with name, byteLength, dataOffset and header',
    isKind: isHeaders,
  })
  const tensors: IndexedTensor[] = []
  for (const [shard, { dataOffset, header }] of shards.entries()) {
    for (const [name, { dtype, shape, dataOffsets }] of header.tensors) {
      const [begin, end] = dataOffsets
      tensors.push({ name, dtype, shape, shard, begin: dataOffset + begin, end: dataOffset + end })
    }
  }
  return tensorIndex(shards, tensors)
}

function isHeaders(value: unknown): boolean {
  return (
    Array.isArray(value) &&
    value.every(
      (shard) =>
        shard?.header?.tensors instanceof Map &&
        typeof shard.name === 'string' &&
        Number.isSafeInteger(shard.byteLength) &&
        Number.isSafeInteger(shard.dataOffset),
    )
  )
}

/**
 * An index in its one order, whatever order the shards and tensors come in.
 *
 * @throws RangeError for a tensor in a shard that is not there.
 */
export function tensorIndex(shards: readonly IndexedShard[], tensors: readonly IndexedTensor[]): TensorIndex {
  for (const { name, shard } of tensors) {
    if (shards[shard] !== undefined) continue
    throw new RangeError(`Tensor ${quoteName(name)} is in shard ${shard}, but there are ${shards.length} shards`)
  }
  const lines = new Map<number, string>()
  const order = Array.from(shards.keys()).sort(
    (a, b) =>
      compareUtf8(shards[a]!.name, shards[b]!.name) ||
      shards[a]!.byteLength - shards[b]!.byteLength ||
      // Files of different folders may have the same name: what they hold tells them apart.
      compareUtf8(linesOf(tensors, a, lines), linesOf(tensors, b, lines)),
  )
  const places: number[] = []
  for (const [place, shard] of order.entries()) places[shard] = place
  const inPlace = tensors.map(({ name, dtype, shape, shard, begin, end }): IndexedTensor => {
    return { name, dtype, shape, shard: places[shard]!, begin, end }
  })
  inPlace.sort((a, b) => a.shard - b.shard || a.begin - b.begin || a.end - b.end || compareUtf8(a.name, b.name))
  return {
    shards: order.map((shard) => ({ name: shards[shard]!.name, byteLength: shards[shard]!.byteLength })),
    tensors: inPlace,
  }
}

/** @param known the lines of all shards, made when they are first asked for: most indexes need none */
function linesOf(tensors: readonly IndexedTensor[], shard: number, known: Map<number, string>): string {
  if (known.size === 0) {
    const lists = new Map<number, string[]>()
    for (const tensor of tensors) {
      const list = lists.get(tensor.shard)
      if (list === undefined) lists.set(tensor.shard, [lineOf(tensor, 0)])
      else list.push(lineOf(tensor, 0))
    }
    for (const [number, list] of lists) known.set(number, list.sort().join('\n'))
  }
  return known.get(shard) ?? ''
}

/**
 * A text that two checkpoints share exactly when their shards have the same names and lengths and hold the same tensors at
 * the same places. Values of tensors do not count, nor where the files are.
 */
export function layoutText({ shards, tensors }: TensorIndex): string {
  const lines = [
    ...shards.map(({ name, byteLength }) => JSON.stringify([name, byteLength])),
    ...tensors.map((tensor) => lineOf(tensor, tensor.shard)),
  ]
  return lines.join('\n')
}

function lineOf({ name, dtype, shape, begin, end }: IndexedTensor, shard: number): string {
  return JSON.stringify([name, dtype, shape, shard, begin, end])
}
