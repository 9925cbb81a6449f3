import { describe, expect, test } from 'vitest'
import type { TensorInfo } from '../src/header.ts'
import { type Selection, validateSelection } from '../src/selection.ts'
import { outcome, thrownBy } from './bytes.ts'

const infos = new Map<string, Pick<TensorInfo, 'dtype' | 'shape'>>([
  ['w', { dtype: 'F32', shape: [4, 6] }],
  ['q', { dtype: 'F4', shape: [8] }],
])

function validate(selection: unknown): void {
  validateSelection(selection as Selection, (name) => infos.get(name))
}

describe('validateSelection()', () => {
  test.each([
    { tensors: [] },
    { tensors: [{ name: 'w' }, { name: 'q', ranges: [[2, 4]] }] },
    { tensors: [{ name: 'w', ranges: [] }] },
    {
      tensors: [
        {
          name: 'w',
          ranges: [
            [0, 4],
            [3, 6],
          ],
        },
      ],
    },
    { tensors: [{ name: 'w', ranges: [[2, 2]] }] },
  ])('accepts %j', (selection) => {
    expect(outcome(() => validate(selection))).toBe('ok')
  })

  test.each([
    ['SAFETENSORS_INVALID_SELECTION', { tensors: [{ name: 'x' }] }],
    ['SAFETENSORS_INVALID_SELECTION', { tensors: [{ name: 'w' }, { name: 'w', ranges: [[0, 1]] }] }],
    ['SAFETENSORS_INVALID_SELECTION', {}],
    ['SAFETENSORS_INVALID_SELECTION', null],
    ['SAFETENSORS_INVALID_SELECTION', { tensors: [null] }],
    ['SAFETENSORS_INVALID_SELECTION', { tensors: ['w'] }],
    ['SAFETENSORS_INVALID_SELECTION', { tensors: [{ name: 'w', ranges: [3] }] }],
    ['SAFETENSORS_INVALID_SELECTION', { tensors: [{ name: 'w', ranges: [[0, 4, 2]] }] }],
    ['SAFETENSORS_INVALID_SELECTION', { tensors: [{ name: 'w', ranges: [[0, null]] }] }],
    ['SAFETENSORS_INVALID_SELECTION', { tensors: [{ name: 'w', ranges: null }] }],
    ['SAFETENSORS_INVALID_SLICE', { tensors: [{ name: 'w', ranges: [[0, 5]] }] }],
    [
      'SAFETENSORS_INVALID_SLICE',
      {
        tensors: [
          {
            name: 'w',
            ranges: [
              [0, 4],
              [0, 6],
              [0, 1],
            ],
          },
        ],
      },
    ],
    ['SAFETENSORS_MISALIGNED_SLICE', { tensors: [{ name: 'q', ranges: [[1, 3]] }] }],
  ])('refuses with %s: %j', (code, selection) => {
    expect(outcome(() => validate(selection))).toBe(code)
  })

  test('names the tensor', () => {
    expect(thrownBy(() => validate({ tensors: [{ name: 'x' }] }))).toMatchObject({
      tensor: 'x',
      message: 'Tensor "x" is selected, but there is none of that name',
    })
    expect(thrownBy(() => validate({ tensors: [{ name: 'w', ranges: [[5, 6]] }] })).tensor).toBe('w')
  })
})
