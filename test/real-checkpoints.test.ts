import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createWorkerPool, openCheckpoint } from 'onecopy'
import { expect, it } from 'vitest'

interface ExpectedTensor {
  readonly dtype: string
  readonly shape: readonly number[]
  readonly sha256: string
}

const fixtures = fileURLToPath(new URL('../../shared/fixtures/real', import.meta.url))
const present = existsSync(join(fixtures, 'expected.json'))
if (!present) console.warn(`Skipped: real checkpoints, because there is no ${fixtures}`)
const expected: Record<string, { tensors: Record<string, ExpectedTensor> }> = present
  ? JSON.parse(readFileSync(join(fixtures, 'expected.json'), 'utf8'))
  : {}

const sharded = 'safetensors-jl-sharded'
const cases = Object.entries(expected)
  .filter(([file]) => dirname(file) !== sharded)
  .map(([file, { tensors }]) => [file, tensors] as const)
const shards = Object.entries(expected).filter(([file]) => dirname(file) === sharded)
if (shards.length > 0) cases.push([sharded, Object.assign({}, ...shards.map(([, { tensors }]) => tensors))])

// A file without a test would count as failed.
if (!present) it.skip('threads of a pool read real checkpoints (needs ../shared/fixtures/real)', () => {})

it.each(cases)('threads of a pool read %s as Python does', async (file, tensors) => {
  using checkpoint = await openCheckpoint(join(fixtures, file))
  expect([...checkpoint.names].sort()).toEqual(Object.keys(tensors).sort())
  const filename = new URL('./programs/hash-tensor.mjs', import.meta.url)
  await using pool = await createWorkerPool<string, ExpectedTensor>({ checkpoint, filename, maxThreads: 2 })
  const read = await Promise.all(checkpoint.names.map((name) => pool.run(name)))
  for (const [at, name] of checkpoint.names.entries()) {
    const { dtype, shape, sha256 } = tensors[name]!
    expect(read[at]).toMatchObject({ dtype, shape, sha256 })
  }
})
