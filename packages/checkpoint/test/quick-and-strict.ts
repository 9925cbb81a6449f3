import { readFileSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { DTYPE_NAMES, dtypeBits, parseSafetensors, parseShardIndex, readHeaderLength } from '@onecopy/safetensors'
import fc from 'fast-check'
import { expect } from 'vitest'
import { buildDirectory } from '../src/build-directory.ts'
import { crossCheck } from '../src/cross-check.ts'
import { openCheckpoint } from '../src/index.ts'
import { closeShards } from '../src/open-shard.ts'
import { readQuickly } from '../src/read-quickly.ts'
import { bytesOf, fileOf, type RawTensor, type Refusal, temporaryFolder, tensor, write } from './support.ts'

export const INDEX = 'model.safetensors.index.json'

/** The directory by the strict parsers and `crossCheck` alone. */
export function strictly(source: string | readonly string[]): Uint8Array {
  const index = typeof source === 'string' ? parseShardIndex(readFileSync(source)) : null
  const paths = typeof source === 'string' ? index!.shardNames.map((name) => join(dirname(source), name)) : source
  const shards = paths.map((path) => {
    const bytes = readFileSync(path)
    const { ino: inode, mtimeNs: modifiedNs } = statSync(path, { bigint: true })
    const dataOffset = 8 + readHeaderLength(bytes, bytes.byteLength)
    const file = { name: basename(path), path, byteLength: bytes.byteLength, dataOffset, inode, modifiedNs }
    return { ...file, header: parseSafetensors(bytes) }
  })
  crossCheck(index, shards, String(source))
  return bytesOf(buildDirectory(shards))
}

/** The directory by the quick way, null where it is not to be had. */
export async function quickly(source: string | readonly string[]): Promise<Uint8Array | null> {
  const read = await readQuickly({
    label: '',
    ...(typeof source === 'string' ? { indexPath: source } : { shardPaths: source }),
  })
  if (read === null) return null
  closeShards(read.shards)
  return bytesOf(read.directory.buffer)
}

async function opened(source: string | readonly string[]): Promise<Uint8Array> {
  using checkpoint = await openCheckpoint(source)
  return bytesOf(checkpoint.share().directory)
}

type Outcome = Pick<Refusal, 'code' | 'tensor' | 'message'> | Uint8Array

/** What comes out, the file left out of the messages of SafetensorsErrors, which the strict parsers do not know. */
async function outcomeOf(run: () => Uint8Array | Promise<Uint8Array>): Promise<Outcome> {
  try {
    return await run()
  } catch (error) {
    const { code, tensor, message, name } = error as Refusal
    return { code, message: name === 'SafetensorsError' ? '' : message, ...(tensor !== undefined && { tensor }) }
  }
}

/** Byte by byte where both are bytes, which takes toEqual() long. */
function expectSame(actual: Outcome, expected: Outcome): void {
  const bytes = actual instanceof Uint8Array && expected instanceof Uint8Array
  if (!bytes || !Buffer.from(actual.buffer).equals(expected)) expect(actual).toEqual(expected)
}

/** Sees to it that everything comes out as without the quick way; whether that was taken, and what came out. */
export async function agrees(source: string | readonly string[]): Promise<{ quick: boolean; code: string }> {
  const expected = await outcomeOf(() => strictly(source))
  const quick = await outcomeOf(async () => (await quickly(source)) ?? new Uint8Array())
  const taken = quick instanceof Uint8Array && quick.byteLength > 0
  if (taken) expectSame(quick, expected)
  expectSame(await outcomeOf(() => opened(source)), expected)
  return { quick: taken, code: expected instanceof Uint8Array ? 'ok' : expected.code }
}

export type Entry = readonly [tensor: string, shard: string]

/** An index as it is given, doubles included. */
export function indexJson(entries: readonly Entry[]): string {
  return `{"weight_map":{${entries.map(([name, shard]) => `${JSON.stringify(name)}:${JSON.stringify(shard)}`).join(',')}}}`
}

export function entriesOf(shards: readonly (readonly RawTensor[])[]): Entry[] {
  return shards.flatMap((tensors, at) => tensors.map(({ name }): Entry => [name, `x${at}`]))
}

/** Shards `x0`, `x1`, … in a folder of their own. */
export function inFolder(shards: readonly (readonly RawTensor[])[], index: string | Uint8Array | null) {
  const folder = temporaryFolder()
  const paths = shards.map((tensors, at) => write(folder, `x${at}`, fileOf(tensors)))
  return { folder, paths, source: index === null ? paths : write(folder, INDEX, index) }
}

const kind = fc.tuple(fc.constantFrom(...DTYPE_NAMES), fc.array(fc.nat(3), { maxLength: 3 })).map(([dtype, shape]) => {
  const bits = shape.reduce((product, size) => product * size, dtypeBits(dtype))
  return { dtype, shape: bits % 8 === 0 ? shape : [...shape, 4] }
})
export const plainName = fc.nat(40).map((at) => (at === 0 ? '' : `layers.${at}. !`))
export const anyName = fc.oneof(
  plainName,
  fc.string({ unit: 'binary', maxLength: 4 }),
  fc.constantFrom('__proto__', 'é', '"'),
)

export function shardsOf(name: fc.Arbitrary<string>): fc.Arbitrary<RawTensor[][]> {
  const tensors = fc.uniqueArray(fc.tuple(name, kind, fc.nat(3)), { selector: ([each]) => each, maxLength: 12 })
  return tensors.map((list) => {
    const named = list.filter(([each]) => each !== '__metadata__')
    const shards: RawTensor[][] = [[], [], [], []]
    for (const [each, { dtype, shape }, at] of named) shards[at]!.push(tensor(each, dtype, shape))
    return shards.filter((held) => held.length > 0)
  })
}
