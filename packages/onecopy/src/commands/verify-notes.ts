import { dtypeBits, type ShardIndex } from '@onecopy/safetensors'
import { formatCount, formatInteger } from '../terminal/units.ts'
import type { CheckpointSummary, TensorRow } from './checkpoint-summary.ts'

/** What is no fault, but worth knowing: one sentence each. */
export function advisoryNotes({ tensors, byteLength }: CheckpointSummary, index: ShardIndex | null): string[] {
  const notes: string[] = []
  const claimed = index?.totalSize ?? null
  if (claimed !== null && claimed !== byteLength) {
    notes.push(
      `The index claims a total_size of ${formatInteger(claimed)} bytes; the tensors have ${formatInteger(byteLength)}`,
    )
  }
  const misaligned = tensors.filter(isMisaligned)
  if (misaligned.length > 0) {
    const verb = misaligned.length === 1 ? 'starts' : 'start'
    notes.push(
      `${formatCount(misaligned.length, 'tensor')} ${verb} at an address that is no multiple of the element size, such as ${JSON.stringify(misaligned[0]!.name.slice(0, 80))}; onecopy reads them, some loaders refuse them`,
    )
  }
  if (tensors.length === 0) notes.push('There is no tensor in it')
  const empty = tensors.filter((tensor) => tensor.byteLength === 0).length
  if (empty > 0) notes.push(`${formatCount(empty, 'tensor')} without elements`)
  return notes
}

function isMisaligned({ dtype, begin, byteLength }: TensorRow): boolean {
  const elementBytes = dtypeBits(dtype) / 8
  return byteLength > 0 && elementBytes > 1 && begin % elementBytes !== 0
}
