import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { type Checkpoint, openCheckpoint, saveCheckpoint } from '../src/index.ts'
import { adoptingWorker, bytesOf, sha256, temporaryFolder } from './support.ts'

// Checkpoints that other projects published lie beside the repository, not in it; without them these tests are skipped.
const FOLDER = fileURLToPath(new URL('../../../../shared/fixtures/real/', import.meta.url))
const EXPECTED = join(FOLDER, 'expected.json')

interface ExpectedFile {
  readonly byteLength: number
  readonly metadata: Readonly<Record<string, string>> | null
  readonly tensors: Readonly<Record<string, ExpectedTensor>>
}

interface ExpectedTensor {
  readonly dtype: string
  readonly shape: readonly number[]
  readonly byteOffset: number
  readonly byteLength: number
  readonly sha256: string
}

const files: Readonly<Record<string, ExpectedFile>> = existsSync(EXPECTED)
  ? JSON.parse(readFileSync(EXPECTED, 'utf8'))
  : { [`(none: ${FOLDER} is absent)`]: { byteLength: 0, metadata: null, tensors: {} } }

function digestOf(tensors: ExpectedFile['tensors']) {
  const entries = Object.entries(tensors).map(([name, { dtype, shape, sha256 }]) => ({ name, dtype, shape, sha256 }))
  return entries.sort(byName)
}

function digest(checkpoint: Checkpoint) {
  const views = [...checkpoint.tensors()]
  return views
    .map(({ name, dtype, shape, buffer }) => ({ name, dtype, shape, sha256: sha256(bytesOf(buffer)) }))
    .sort(byName)
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : 1
}

async function expectInWorker(checkpoint: Checkpoint, tensors: ExpectedFile['tensors']): Promise<void> {
  const answer = (await adoptingWorker(checkpoint.share()).ask('digest')) as { name: string }[]
  expect(answer.sort(byName)).toEqual(digestOf(tensors))
}

describe.skipIf(!existsSync(EXPECTED))('openCheckpoint() reads the published file', () => {
  test.each(Object.entries(files))('%s', async (file, expected) => {
    for (const backing of ['file', 'sealed', 'heap'] as const) {
      using checkpoint = await openCheckpoint(join(FOLDER, file), { backing })
      expect(digest(checkpoint)).toEqual(digestOf(expected.tensors))
      await expectInWorker(checkpoint, expected.tensors)
      const [shard] = checkpoint.shards
      expect(shard?.byteLength).toBe(expected.byteLength)
      expect(shard?.metadata ?? null).toEqual(expected.metadata && new Map(Object.entries(expected.metadata)))
      for (const [name, { byteOffset, byteLength }] of Object.entries(expected.tensors)) {
        expect(checkpoint.locate(name)).toMatchObject({ begin: byteOffset, end: byteOffset + byteLength })
      }
    }
  })

  test('of several shards by its folder, and saveCheckpoint() keeps every tensor', async () => {
    const name = 'safetensors-jl-sharded'
    const shards = Object.entries(files).filter(([file]) => dirname(file) === name)
    const tensors = Object.assign({}, ...shards.map(([, file]) => file.tensors))
    using checkpoint = await openCheckpoint(join(FOLDER, name))
    expect(digest(checkpoint)).toEqual(digestOf(tensors))
    await expectInWorker(checkpoint, tensors)
    const folder = temporaryFolder()
    await saveCheckpoint(folder, checkpoint.tensors(), { maxShardBytes: 500 })
    using saved = await openCheckpoint(folder)
    expect(saved.shards.length).toBeGreaterThan(1)
    expect(digest(saved)).toEqual(digestOf(tensors))
  })
})
