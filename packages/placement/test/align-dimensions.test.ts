import type { Dtype } from '@onecopy/safetensors'
import { expect, test } from 'vitest'
import { alignDimensions } from '../src/align-dimensions.ts'

const shaped = (shape: readonly number[], dtype: Dtype = 'BF16') => ({ name: 'x', dtype, shape })

test.each([
  ['as many dimensions', [16, 56], [2048, 7168], [0, 1]],
  ['a scale for each output', [64], [64, 32], [0]],
  ['a scale for each input', [32], [64, 32], [1]],
  ['a square matrix', [64], [64, 64], [0]],
  ['a scale for each expert', [8], [8, 64, 32], [0]],
  ['a scale for each expert and output', [8, 64], [8, 64, 32], [0, 1]],
  ['blocks without their last dimension', [8, 64, 4], [8, 64, 4, 16], [0, 1, 2]],
  ['a column of a vector', [64, 1], [64], [0, -1]],
  ['a multiple of the outermost', [512], [64, 32], [0]],
])('alignDimensions() with %s', (_, companion, owner, places) => {
  expect(alignDimensions(shaped(companion), shaped(owner), undefined)).toEqual(places)
})

test('alignDimensions() finds the dimension by the block that is given', () => {
  expect(alignDimensions(shaped([4]), shaped([128, 1], 'U8'), [32])).toEqual([0])
  expect(alignDimensions(shaped([4]), shaped([128, 2], 'U8'), [64])).toBeNull()
})

test('alignDimensions() gives nothing for shapes without a relation', () => {
  expect(alignDimensions(shaped([3]), shaped([64, 32]), undefined)).toBeNull()
  expect(alignDimensions(shaped([64, 3]), shaped([64]), undefined)).toBeNull()
})
