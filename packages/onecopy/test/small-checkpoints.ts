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

/** Sizes of `saveLlama`; two heads of keys and values, of 4 positions each. */
export const LLAMA = { layers: 4, hidden: 16, inner: 32, heads: 4, keyValueHeads: 2, headSize: 4, vocabulary: 64 }

/** A checkpoint with the names and proportions of a llama model, in several shards, without `config.json`. */
export async function saveLlama(folder: string): Promise<string> {
  const { layers, hidden, inner, heads, keyValueHeads, headSize, vocabulary } = LLAMA
  const matrices: Record<string, readonly number[]> = {
    'self_attn.q_proj': [heads * headSize, hidden],
    'self_attn.k_proj': [keyValueHeads * headSize, hidden],
    'self_attn.v_proj': [keyValueHeads * headSize, hidden],
    'self_attn.o_proj': [hidden, heads * headSize],
    'mlp.gate_proj': [inner, hidden],
    'mlp.up_proj': [inner, hidden],
    'mlp.down_proj': [hidden, inner],
    input_layernorm: [hidden],
    post_attention_layernorm: [hidden],
  }
  const shapes: [name: string, shape: readonly number[]][] = [['model.embed_tokens', [vocabulary, hidden]]]
  for (let layer = 0; layer < layers; layer++) {
    for (const [name, shape] of Object.entries(matrices)) shapes.push([`model.layers.${layer}.${name}`, shape])
  }
  shapes.push(['model.norm', [hidden]], ['lm_head', [vocabulary, hidden]])
  const tensors = shapes.map(([name, shape]) => {
    const elements = shape.reduce((product, size) => product * size, 1)
    return tensor(`${name}.weight`, 'BF16', shape, 2 * elements)
  })
  await saveCheckpoint(folder, tensors, { maxShardBytes: 8192 })
  return folder
}

/** What a `config.json` says of `saveLlama`. */
export const LLAMA_CONFIG = {
  model_type: 'llama',
  hidden_size: LLAMA.hidden,
  num_attention_heads: LLAMA.heads,
  num_key_value_heads: LLAMA.keyValueHeads,
  vocab_size: LLAMA.vocabulary,
}
