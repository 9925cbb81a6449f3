import type { ProcessMemory } from 'onecopy'
import { expect, it } from 'vitest'
import { runProgram, temporaryFolder, writeSparseCheckpoint } from './support.ts'

const MIB = 2 ** 20
const THREADS = 8

it('eight threads that read everything occupy one copy of the checkpoint', {
  skip: process.platform !== 'linux',
}, () => {
  const shape = [64, MIB]
  const shards = [0, 1, 2].map((shard) =>
    [0, 1].map((at) => ({ name: `layers.${shard * 2 + at}.weight`, dtype: 'BF16' as const, shape })),
  )
  const { stdout, stderr, status } = runProgram(
    'one-copy.mjs',
    writeSparseCheckpoint(temporaryFolder(), shards),
    `${THREADS}`,
  )
  expect(stderr).toBe('')
  expect(status).toBe(0)
  const { byteLength, before, after, results } = JSON.parse(stdout) as {
    byteLength: number
    before: ProcessMemory
    after: ProcessMemory
    results: { threadId: number; sum: number }[]
  }
  expect(byteLength).toBe(768 * MIB)
  expect(new Set(results.map(({ threadId }) => threadId)).size).toBe(THREADS)
  // Everything was touched, and it counts once: eight copies would be 6 GiB. The constant is for eight JavaScript heaps.
  expect(after.pssBytes).toBeGreaterThan(byteLength)
  expect(after.pssBytes - before.pssBytes).toBeLessThan(1.02 * byteLength + 64 * MIB)
  expect(after.anonymousBytes - before.anonymousBytes).toBeLessThan(64 * MIB)
})
