import { describe, expect, test } from 'vitest'
import type { TensorInfo } from '../src/header.ts'
import { type Selection, validateSelection } from '../src/selection.ts'
import { outcome, thrownBy } from './bytes.ts'

const infos = new Map<string, Pick<TensorInfo, 'dtype' | 'shape'>>([
  ['w', { dtype: 'F32', shape: [4, 6] }],
  ['q', { dtype: 'F4', shape: [8] }],
])

/** The extents as they are: the formatter would give each a line of its own. */
function several(...extents: [number, number][]): [number, number][] {
  return extents
}

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
    { tensors: [{ name: 'w', ranges: [several([0, 1], [2, 3])] }] },
    { tensors: [{ name: 'w', ranges: [[1, 3], several([0, 1], [2, 3], [4, 6])] }] },
    { tensors: [{ name: 'w', ranges: [several([0, 1], [3, 4]), several([0, 2], [5, 6])] }] },
    { tensors: [{ name: 'q', ranges: [several([0, 2], [4, 8])] }] },
    { tensors: [], layout: undefined },
    { tensors: [], layout: '0123456789abcdef'.repeat(4) },
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
    ['SAFETENSORS_MISALIGNED_SLICE', { tensors: [{ name: 'q', ranges: [several([0, 2], [3, 5])] }] }],
    ['SAFETENSORS_INVALID_SLICE', { tensors: [{ name: 'w', ranges: [several([0, 1], [2, 5])] }] }],
    ['SAFETENSORS_INVALID_SLICE', { tensors: [{ name: 'w', ranges: [several([-1, 1], [2, 4])] }] }],
    ['SAFETENSORS_INVALID_SLICE', { tensors: [{ name: 'w', ranges: [several([0, 0.5], [2, 4])] }] }],
    ['SAFETENSORS_INVALID_SLICE', { tensors: [{ name: 'q', ranges: [[0, 8], several([0, 1], [2, 3])] }] }],
  ])('refuses with %s: %j', (code, selection) => {
    expect(outcome(() => validate(selection))).toBe(code)
  })

  test.each([
    ['touch', several([0, 2], [2, 4])],
    ['overlap', several([0, 3], [2, 4])],
    ['are the same', several([0, 2], [0, 2])],
    ['descend', several([3, 4], [0, 1])],
    ['are empty first', several([0, 0], [2, 4])],
    ['are empty last', several([0, 2], [4, 4])],
    ['run backwards', several([2, 1], [3, 4])],
    ['are one', several([0, 2])],
    ['are none', []],
    ['have a step', [[0, 2, 2] as unknown, [4, 6]]],
    ['have no end', [[0, 1] as unknown, [2, null]]],
    ['have NaN', several([0, Number.NaN], [2, 3])],
    ['start at NaN', several([0, 1], [Number.NaN, 3])],
    ['are no arrays', [{ 0: 0, 1: 1, length: 2 }, '23']],
    ['are nested deeper', [several([0, 1], [2, 3]), several([4, 5], [6, 7])]],
    ['have a hole', Object.assign(new Array(2), { 1: [2, 3] })],
  ])('refuses extents that %s', (_, range) => {
    const error = thrownBy(() => validate({ tensors: [{ name: 'w', ranges: [[0, 4], range] }] }))
    expect(error).toMatchObject({
      code: 'SAFETENSORS_INVALID_SELECTION',
      tensor: 'w',
      message:
        'The range of dimension 1 of tensor "w" must be [start, stop], or an array of several such that are not ' +
        'empty, rise and do not touch',
    })
  })

  test('refuses a hole among the ranges, which would move those behind it', () => {
    const ranges = Object.assign(new Array(2), { 1: [0, 1] })
    expect(outcome(() => validate({ tensors: [{ name: 'w', ranges }] }))).toBe('SAFETENSORS_INVALID_SELECTION')
  })

  test.each([null, '', 1, 'A'.repeat(64), 'a'.repeat(63), 'a'.repeat(65), 'g'.repeat(64), `${'a'.repeat(64)}\n`])(
    'refuses the layout %j',
    (layout) => {
      expect(thrownBy(() => validate({ tensors: [], layout }))).toMatchObject({
        code: 'SAFETENSORS_INVALID_SELECTION',
        message: 'The layout of a selection must be a sha256 in 64 lower-case hexadecimal digits',
      })
    },
  )

  test('survives JSON with several extents and a layout', () => {
    const selection = { tensors: [{ name: 'w', ranges: [several([0, 1], [2, 3])] }], layout: '0'.repeat(64) }
    expect(outcome(() => validate(JSON.parse(JSON.stringify(selection))))).toBe('ok')
  })

  test('refuses more boxes together than can be listed, though each tensor may have its own', () => {
    const every = Array.from({ length: 512 }, (_, at): [number, number] => [2 * at, 2 * at + 1])
    const tensors = Array.from({ length: 5 }, (_, at) => ({ name: `${at}`, ranges: [every, every] }))
    const select = (): void => validateSelection({ tensors }, () => ({ dtype: 'U8', shape: [1024, 1024] }))
    expect(thrownBy(select)).toMatchObject({
      code: 'SAFETENSORS_INVALID_SELECTION',
      message: 'The parts of the 5 selected tensors have 1310720 boxes together: there must be at most 1048576',
    })
  })

  test('names the tensor', () => {
    expect(thrownBy(() => validate({ tensors: [{ name: 'x' }] }))).toMatchObject({
      tensor: 'x',
      message: 'Tensor "x" is selected, but there is none of that name',
    })
    expect(thrownBy(() => validate({ tensors: [{ name: 'w', ranges: [[5, 6]] }] })).tensor).toBe('w')
    expect(thrownBy(() => validate({ tensors: [{ name: 'w', ranges: [several([0, 1], [3, 6])] }] }))).toMatchObject({
      tensor: 'w',
      message: 'The slice of tensor "w" has stop 6 in dimension 0, which has size 4: it must be an integer from 0 to 4',
    })
  })
})
