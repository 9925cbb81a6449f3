import type { Selection } from '@onecopy/safetensors'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Directory } from '../src/directory.ts'
import { openCheckpoint } from '../src/index.ts'
import { type SelectedParts, selectParts } from '../src/select-parts.ts'
import { fileOf, refusal, temporaryFolder, tensor, write } from './support.ts'

const RAWS = [tensor('a', 'F32', [4, 6]), tensor('none', 'U8', [0]), tensor('b', 'F4', [4, 8]), tensor('c', 'I64', [])]

async function directoryOf(): Promise<Directory> {
  const checkpoint = await openCheckpoint(write(temporaryFolder(), 'x.safetensors', fileOf(RAWS)))
  onTestFinished(() => checkpoint.close())
  return new Directory(checkpoint.directory)
}

async function select(tensors: Selection['tensors'], sharesParts = true): Promise<SelectedParts> {
  return selectParts(await directoryOf(), { tensors }, 'x', sharesParts)
}

describe('selectParts()', () => {
  test('reads in place what is one run of bytes, in file order, and keeps the order of the selection', async () => {
    const directory = await directoryOf()
    const { begin } = directory.entry(directory.find('a'))
    const { inPlace, gathered, names } = await select([
      { name: 'c' },
      {
        name: 'b',
        ranges: [
          [1, 2],
          [2, 6],
        ],
      },
      { name: 'none' },
      { name: 'a', ranges: [[1, 3]] },
    ])
    expect(names).toEqual(['c', 'b', 'none', 'a'])
    expect(inPlace).toEqual([
      { name: 'a', dtype: 'F32', shape: [2, 6], shard: 0, begin: begin + 24, end: begin + 72 },
      { name: 'none', dtype: 'U8', shape: [0], shard: 0, begin: begin + 96, end: begin + 96 },
      { name: 'b', dtype: 'F4', shape: [1, 4], shard: 0, begin: begin + 101, end: begin + 103 },
      { name: 'c', dtype: 'I64', shape: [], shard: 0, begin: begin + 112, end: begin + 120 },
    ])
    expect(gathered).toEqual([])
  })

  test('gathers what is several runs, with one key for each part', async () => {
    const { inPlace, gathered } = await select([
      {
        name: 'b',
        ranges: [
          [0, 4],
          [2, 6],
        ],
      },
      {
        name: 'a',
        ranges: [
          [
            [0, 1],
            [2, 4],
          ],
          [0, 6],
        ],
      },
    ])
    expect(inPlace).toEqual([])
    expect(gathered.map(({ name, key, slice }) => [name, key, slice.byteLength])).toEqual([
      ['a', '["a",[[[0,1],[2,4]]]]', 72],
      ['b', '["b",[[[0,4]],[[2,6]]]]', 8],
    ])
    const same = await select([
      {
        name: 'a',
        ranges: [
          [
            [0, 1],
            [2, 4],
          ],
        ],
      },
    ])
    expect(same.gathered[0]!.key).toBe(gathered[0]!.key)
  })

  test('gathers parts that cannot be shared where they lie, and nothing that is whole or empty', async () => {
    const { inPlace, gathered } = await select(
      [
        { name: 'a', ranges: [[1, 3]] },
        { name: 'b', ranges: [[2, 2]] },
        { name: 'c' },
        { name: 'none', ranges: [[0, 0]] },
      ],
      false,
    )
    expect(gathered.map(({ name, key }) => [name, key])).toEqual([['a', '["a",[[[1,3]]]]']])
    expect(inPlace.map(({ name }) => name)).toEqual(['none', 'b', 'c'])
  })

  test('says that a selection is for another checkpoint before it looks for its tensors', async () => {
    const directory = await directoryOf()
    const attempt = (selection: unknown) => refusal(() => selectParts(directory, selection as Selection, 'x'))
    const other = await attempt({ tensors: [{ name: 'z' }], layout: 'f'.repeat(64) })
    expect(other).toMatchObject({ name: 'CheckpointError', code: 'SELECTION_OTHER_CHECKPOINT' })
    expect(other.message).toContain(directory.layout)
    for (const layout of ['F'.repeat(64), '', 7, null, Object.create(null)]) {
      expect((await attempt({ tensors: [], layout })).code).toBe('SAFETENSORS_INVALID_SELECTION')
    }
    expect((await attempt({ tensors: [{ name: 'z' }], layout: directory.layout })).code).toBe(
      'SAFETENSORS_INVALID_SELECTION',
    )
    expect(
      (
        await attempt({
          tensors: [
            {
              name: 'b',
              ranges: [
                [0, 4],
                [1, 3],
              ],
            },
          ],
        })
      ).code,
    ).toBe('SAFETENSORS_MISALIGNED_SLICE')
  })
})

test('selectParts() refuses a part of more runs than there is memory to list', () => {
  const layout = { dtype: 'U8', shape: [8192, 16_384], shard: 0, begin: 0, end: 8192 * 16_384 } as const
  // A directory of one tensor that no test should have to write.
  const directory = { find: () => 0, entry: () => layout } as unknown as Directory
  const columns = (step: number) =>
    Array.from({ length: 16_384 / step }, (_, at) => [at * step, at * step + 1] as const)
  const part = (step: number) => () =>
    selectParts(directory, { tensors: [{ name: 'w', ranges: [[0, 8192], columns(step)] }] }, 'x')
  expect(part(32)().gathered).toHaveLength(1)
  const scattered =
    'The selected part of tensor "w" is 67108864 runs of 1.0 bytes on average; at most 4194304 can be gathered'
  expect(part(2)).toThrow(expect.objectContaining({ code: 'SELECTION_SCATTERED', tensor: 'w', message: scattered }))
})
