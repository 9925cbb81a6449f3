import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { openCheckpoint } from '../src/index.ts'
import {
  expectNothingOpen,
  fileOf,
  type RawTensor,
  refusal,
  temporaryFolder,
  tensor,
  write,
  writeIndex,
} from './support.ts'

const [a, b, c, tied] = ['a', 'b', 'c', '__proto__'].map((name) => tensor(name)) as [
  RawTensor,
  RawTensor,
  RawTensor,
  RawTensor,
]

interface Case {
  readonly shards: Readonly<Record<string, readonly RawTensor[]>>
  readonly weightMap: readonly (readonly [tensor: string, shard: string])[]
  readonly code: string
  readonly tensor: string
  readonly file: string
}

const CASES: Readonly<Record<string, Case>> = {
  'a shard of another checkpoint': {
    shards: { x: [a, b], y: [tensor('other.1'), tensor('other.2')] },
    weightMap: [...mapped('x', 'a', 'b'), ...mapped('y', 'c', 'd')],
    ...{ code: 'SHARD_FOREIGN', tensor: 'c', file: 'y' },
  },
  'a shard without tensors': {
    shards: { x: [a], y: [] },
    weightMap: [...mapped('x', 'a'), ...mapped('y', 'c')],
    ...{ code: 'SHARD_FOREIGN', tensor: 'c', file: 'y' },
  },
  'a tied tensor that is in the index and in no shard': {
    shards: { x: [a, b], y: [c] },
    weightMap: [...mapped('x', 'a', 'b', '__proto__'), ...mapped('y', 'c')],
    ...{ code: 'TENSOR_IN_NO_SHARD', tensor: '__proto__', file: 'x' },
  },
  'a tensor in another shard than the index says': {
    shards: { x: [a], y: [b, c] },
    weightMap: [...mapped('x', 'a', 'b'), ...mapped('y', 'c')],
    ...{ code: 'TENSOR_IN_OTHER_SHARD', tensor: 'b', file: 'y' },
  },
  'a tensor in two shards': {
    shards: { x: [a, b], y: [b, c] },
    weightMap: [...mapped('x', 'a', 'b'), ...mapped('y', 'c')],
    ...{ code: 'TENSOR_IN_TWO_SHARDS', tensor: 'b', file: 'y' },
  },
  'a tensor that is not in the index': {
    shards: { x: [a, tied], y: [c] },
    weightMap: [...mapped('x', 'a'), ...mapped('y', 'c')],
    ...{ code: 'TENSOR_NOT_IN_INDEX', tensor: '__proto__', file: 'x' },
  },
}

function mapped(shard: string, ...names: readonly string[]): (readonly [string, string])[] {
  return names.map((name) => [name, shard])
}

describe('openCheckpoint() compares index and shards and refuses', () => {
  test.each(Object.entries(CASES))('%s', async (_, { shards, weightMap, ...expected }) => {
    const folder = temporaryFolder()
    for (const [name, tensors] of Object.entries(shards)) write(folder, name, fileOf(tensors))
    writeIndex(folder, Object.fromEntries(weightMap))
    const error = await refusal(openCheckpoint(folder))
    const path = join(folder, expected.file)
    expect(error).toMatchObject({ code: expected.code, tensor: expected.tensor, path })
    expect(error.message).toContain(JSON.stringify(expected.tensor))
    expect(error.message).toMatch(new RegExp(`["/]${expected.file}"`))
    expectNothingOpen(folder)
  })

  test('the same tensor in two shards of a list', async () => {
    const folder = temporaryFolder()
    const paths = [write(folder, 'x', fileOf([a, b])), write(folder, 'y', fileOf([c, a]))]
    const error = await refusal(openCheckpoint(paths))
    expect(error).toMatchObject({ code: 'TENSOR_IN_TWO_SHARDS', tensor: 'a', path: paths[1] })
    for (const path of paths) expect(error.message).toContain(path)
    expectNothingOpen(folder)
  })
})

describe('openCheckpoint() accepts', () => {
  test('shards and index that agree, with names that objects have already', async () => {
    const folder = temporaryFolder()
    const names = ['__proto__', 'constructor', 'toString', '']
    write(folder, 'x', fileOf([a, ...names.map((name) => tensor(name))]))
    write(folder, 'y', fileOf([b]))
    writeIndex(folder, Object.fromEntries([...mapped('x', ...names, 'a'), ...mapped('y', 'b')]))
    using checkpoint = await openCheckpoint(folder)
    expect([...checkpoint.names]).toEqual(['a', ...names, 'b'])
  })

  test('a list of shards without any index', async () => {
    const folder = temporaryFolder()
    using checkpoint = await openCheckpoint([write(folder, 'y', fileOf([c])), write(folder, 'x', fileOf([a, b]))])
    expect(checkpoint.names).toEqual(['c', 'a', 'b'])
  })
})
