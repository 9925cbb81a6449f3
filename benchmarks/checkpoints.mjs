// @ts-check
// The checkpoints that benchmarks read. Sparse ones have names, shapes and sizes of real models and holes for values: every
// reader sees their full size, and they take no room. Dense ones have real bytes.
import { closeSync, openSync, truncateSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { DTYPES, serializeHeader } from 'onecopy'
import { deepSeekTensors, llamaTensors } from './model-shapes.mjs'

/** @typedef {import('onecopy').TensorSpec} TensorSpec */
/** @typedef {import('./harness/scratch.mjs').Scratch} Scratch */

/**
 * @typedef {object} MadeCheckpoint
 * @property {string} folder
 * @property {number} tensors
 * @property {number} shards
 * @property {number} byteLength of all tensors
 */

/** Changes when what is written changes, so that nobody measures an old cache. */
const EDITION = 1

/** Repeated to fill dense tensors: too long for any cache to hold twice, short enough to make at once. */
const BLOCK_BYTES = 16 * 2 ** 20

/**
 * 291 tensors in 3 shards, 13.5 GB: the names and shapes of Llama 2 7B.
 *
 * @param {Scratch} scratch
 * @param {number} [layers] fewer for tests
 */
export function sparseLlama(scratch, layers = 32) {
  return sparse(scratch, `llama-${layers}`, llamaTensors(layers), 3)
}

/**
 * 90,427 tensors in 158 shards, 673 GB: the names and shapes of DeepSeek V3 without its prediction layer.
 *
 * @param {Scratch} scratch
 * @param {{ layers?: number, experts?: number, shards?: number }} [size] fewer for tests
 */
export function sparseDeepSeek(scratch, { layers = 61, experts = 256, shards = 158 } = {}) {
  return sparse(scratch, `deepseek-${layers}-${experts}`, deepSeekTensors(layers, experts), shards)
}

/**
 * Equal tensors with real bytes; it lives as long as the run.
 *
 * @param {Scratch} scratch
 * @param {{ name: string, dtype: import('onecopy').Dtype, shape: readonly number[], tensors: number, shards: number }} size
 */
export async function dense(scratch, { name, dtype, shape, tensors, shards }) {
  const specs = Array.from({ length: tensors }, (_, at) => ({ name: `layers.${at}.weight`, dtype, shape }))
  const block = randomBlock(dtype)
  const folder = await scratch.made(name, (path) => void writeCheckpoint(path, specs, shards, block))
  return describe(folder, specs, shards)
}

/**
 * @param {Scratch} scratch
 * @param {string} name
 * @param {readonly TensorSpec[]} tensors
 * @param {number} shards
 */
async function sparse(scratch, name, tensors, shards) {
  const key = `sparse-${name}-${shards}-edition-${EDITION}`
  const folder = await scratch.cached(key, (path) => writeCheckpoint(path, tensors, shards, null))
  return describe(folder, tensors, shards)
}

/**
 * @param {string} folder
 * @param {readonly TensorSpec[]} tensors
 * @param {number} shards
 * @returns {MadeCheckpoint}
 */
function describe(folder, tensors, shards) {
  return { folder, tensors: tensors.length, shards, byteLength: tensors.reduce((sum, spec) => sum + bytesOf(spec), 0) }
}

/**
 * @param {string} folder
 * @param {readonly TensorSpec[]} tensors
 * @param {number} shardCount
 * @param {Uint8Array | null} block what tensors are filled with; null leaves holes
 */
export function writeCheckpoint(folder, tensors, shardCount, block) {
  const total = tensors.reduce((sum, spec) => sum + bytesOf(spec), 0)
  /** @type {TensorSpec[][]} */
  const shards = Array.from({ length: shardCount }, () => [])
  let before = 0
  for (const spec of tensors) {
    shards[Math.min(shardCount - 1, Math.floor((before / total) * shardCount))]?.push(spec)
    before += bytesOf(spec)
  }
  /** @type {Record<string, string>} */
  const weightMap = {}
  for (const [at, specs] of shards.entries()) {
    const name = `model-${five(at + 1)}-of-${five(shardCount)}.safetensors`
    const { bytes, dataByteLength } = serializeHeader(specs, { format: 'pt' })
    writeFileSync(join(folder, name), bytes)
    if (block === null) truncateSync(join(folder, name), bytes.byteLength + dataByteLength)
    else fill(join(folder, name), bytes.byteLength, dataByteLength, block)
    for (const spec of specs) weightMap[spec.name] = name
  }
  const index = { metadata: { total_size: total }, weight_map: weightMap }
  writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify(index, null, 2))
}

/**
 * @param {string} path
 * @param {number} position where the data begins
 * @param {number} byteLength
 * @param {Uint8Array} block
 */
function fill(path, position, byteLength, block) {
  const descriptor = openSync(path, 'r+')
  try {
    for (let done = 0; done < byteLength; done += block.byteLength) {
      writeSync(descriptor, block, 0, Math.min(block.byteLength, byteLength - done), position + done)
    }
  } finally {
    closeSync(descriptor)
  }
}

/**
 * Values as weights have them, around 0 and finite: not a number is converted and added at other speeds on some machines.
 *
 * @param {import('onecopy').Dtype} dtype
 */
function randomBlock(dtype) {
  const words = new Uint32Array(BLOCK_BYTES / 4)
  let state = 0x9e3779b9
  for (let at = 0; at < words.length; at++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    words[at] = state
  }
  const bytes = new Uint8Array(words.buffer)
  const width = DTYPES[dtype] / 8
  // The upper byte of a floating-point number holds the sign and most of the exponent.
  const floats = /^(B?F16|F32|F64)$/.test(dtype)
  if (floats) for (let at = width - 1; at < bytes.length; at += width) bytes[at] = (bytes[at] ?? 0) & 0x80 ? 0xbc : 0x3c
  return bytes
}

/** @param {TensorSpec} spec */
function bytesOf({ dtype, shape }) {
  return shape.reduce((product, size) => product * size, DTYPES[dtype] / 8)
}

/** @param {number} number */
function five(number) {
  return String(number).padStart(5, '0')
}
