import { createHash } from 'node:crypto'
import { openCheckpoint, saveCheckpoint } from '@onecopy/checkpoint'
import type { Dtype } from '@onecopy/safetensors'
import { describe, expect, test } from 'vitest'
import { chooseMatrix, productHash } from '../src/commands/demo/matrix-vector.ts'
import { uniformNumbers } from '../src/commands/demo/random-numbers.ts'
import { temporaryFolder } from './run-onecopy.ts'

const ROWS = 5
const COLUMNS = 7

/** Elements k / 8, exact in every one of the dtypes. */
const VALUES = Float32Array.from({ length: ROWS * COLUMNS }, (_, at) => (at - 17) / 8)

const BYTES: Partial<Record<Dtype, Uint8Array>> = {
  F32: new Uint8Array(VALUES.buffer),
  BF16: new Uint8Array(Uint16Array.from(new Uint32Array(VALUES.buffer), (bits) => bits >>> 16).buffer),
  F16: new Uint8Array(Uint16Array.from(VALUES, halfBits).buffer),
}

function halfBits(value: number): number {
  if (value === 0) return 0
  const exponent = Math.floor(Math.log2(Math.abs(value)))
  return (value < 0 ? 0x8000 : 0) | ((exponent + 15) << 10) | ((Math.abs(value) / 2 ** exponent - 1) * 1024)
}

describe('productHash', () => {
  test.each(['BF16', 'F16', 'F32'] as const)(
    'multiplies a matrix of %s as a plain loop over its values does',
    async (dtype) => {
      const folder = temporaryFolder()
      await saveCheckpoint(folder, [{ name: 'w', dtype, shape: [ROWS, COLUMNS], data: BYTES[dtype]! }])
      using checkpoint = await openCheckpoint(folder)
      const uniform = uniformNumbers(1)
      const x = Float32Array.from({ length: COLUMNS }, () => uniform() * 2 - 1)
      const y = Float32Array.from({ length: ROWS }, (_, row) =>
        x.reduce((sum, value, column) => sum + VALUES[row * COLUMNS + column]! * value, 0),
      )
      const expected = createHash('sha256').update(y).digest('hex')
      expect(await productHash(chooseMatrix(checkpoint)!)).toBe(expected)
    },
  )
})

describe('chooseMatrix', () => {
  test('takes the largest that has rows, columns and a dtype to multiply', async () => {
    const folder = temporaryFolder()
    const tensor = (name: string, dtype: Dtype, shape: readonly number[], byteLength: number) => ({
      name,
      dtype,
      shape,
      data: new Uint8Array(byteLength),
    })
    await saveCheckpoint(folder, [
      tensor('vector', 'F32', [100], 400),
      tensor('integers', 'I64', [10, 10], 800),
      tensor('cube', 'F32', [4, 4, 4], 256),
      tensor('empty', 'F32', [0, 9], 0),
      tensor('small', 'F32', [2, 2], 16),
      tensor('right', 'BF16', [4, 4], 32),
    ])
    using checkpoint = await openCheckpoint(folder)
    expect(chooseMatrix(checkpoint)?.name).toBe('right')
  })
})
