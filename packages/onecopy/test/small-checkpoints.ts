import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { saveCheckpoint } from '@onecopy/checkpoint'
import { type Dtype, serialize } from '@onecopy/safetensors'

/** Two shards and an index: a BF16 matrix of 8 × 4 and an F32 vector of 6. */
export async function saveTwoShards(folder: string): Promise<void> {
  await saveCheckpoint(
    folder,
    [tensor('layers.10.weight', 'BF16', [8, 4], 64), tensor('layers.2.bias', 'F32', [6], 24)],
    {
      maxShardBytes: 64,
      metadata: { format: 'pt' },
    },
  )
}

/** One file that holds U8 tensors of one byte each with the given names. */
export function writeNames(
  folder: string,
  names: readonly string[],
  metadata: Record<string, string> | null = null,
): string {
  const path = join(folder, 'model.safetensors')
  const tensors = names.map((name) => ({ name, dtype: 'U8', shape: [1], data: new Uint8Array(1) }) as const)
  writeFileSync(path, serialize(tensors, metadata))
  return path
}

/** Changes the index of a checkpoint as JSON. */
export function editIndex(folder: string, edit: (index: IndexJson) => void): void {
  const path = join(folder, 'model.safetensors.index.json')
  const index = JSON.parse(readFileSync(path, 'utf8')) as IndexJson
  edit(index)
  writeFileSync(path, JSON.stringify(index))
}

interface IndexJson {
  metadata: Record<string, unknown>
  weight_map: Record<string, string>
}

function tensor(name: string, dtype: Dtype, shape: readonly number[], byteLength: number) {
  return { name, dtype, shape, data: Uint8Array.from({ length: byteLength }, (_, at) => at % 60) }
}
