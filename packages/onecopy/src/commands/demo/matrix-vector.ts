import { createHash } from 'node:crypto'
import type { Checkpoint, TensorView } from '@onecopy/checkpoint'
import { uniformNumbers } from './random-numbers.ts'

/** Dtypes that the product is computed for, all of them read from the shared view itself. */
const DTYPES: ReadonlySet<string> = new Set(['BF16', 'F16', 'F32'])

/** Elements multiplied between two looks at the clock, roughly. */
const BLOCK_ELEMENTS = 4 * 2 ** 20

/** The largest matrix of a checkpoint that can be multiplied, or null. */
export function chooseMatrix(checkpoint: Checkpoint): TensorView | null {
  let largest: TensorView | null = null
  for (const view of checkpoint.tensors()) {
    if (view.shape.length !== 2 || view.elementCount === 0 || !DTYPES.has(view.dtype)) continue
    if (largest === null || view.byteLength > largest.byteLength) largest = view
  }
  return largest
}

/**
 * The sha256 of y = W·x, block of rows by block of rows; x is the same in every thread. Sums are made in one order in
 * double precision, so the same weights give the same bits everywhere.
 * @param between is awaited between two blocks
 */
export async function productHash(matrix: TensorView, between?: () => Promise<unknown>): Promise<string> {
  const [rows, columns] = matrix.shape as readonly [number, number]
  const uniform = uniformNumbers(1)
  const x = Float32Array.from({ length: columns }, () => uniform() * 2 - 1)
  const y = new Float32Array(rows)
  const blockRows = Math.max(1, Math.floor(BLOCK_ELEMENTS / columns))
  for (let begin = 0; begin < rows; begin += blockRows) {
    multiplyRows(matrix, x, y, begin, Math.min(begin + blockRows, rows))
    await between?.()
  }
  return createHash('sha256').update(y).digest('hex')
}

function multiplyRows(matrix: TensorView, x: Float32Array, y: Float32Array, begin: number, end: number): void {
  const columns = x.length
  if (matrix.dtype === 'BF16') {
    multiplyBf16(
      new Uint16Array(matrix.buffer, begin * columns * 2, (end - begin) * columns),
      x,
      y.subarray(begin, end),
    )
    return
  }
  const values =
    matrix.dtype === 'F32'
      ? new Float32Array(matrix.buffer, begin * columns * 4, (end - begin) * columns)
      : matrix.slice([begin, end]).toFloat32()
  for (let row = begin, at = 0; row < end; row++) {
    let sum = 0
    for (let column = 0; column < columns; column++) sum += values[at++]! * x[column]!
    y[row] = sum
  }
}

/** A BF16 is the upper half of a 32-bit float, so shifting its bits is all that reading it takes. */
function multiplyBf16(bits: Uint16Array, x: Float32Array, y: Float32Array): void {
  const columns = x.length
  const row = new Float32Array(columns)
  const rowBits = new Uint32Array(row.buffer)
  for (let at = 0, begin = 0; at < y.length; at++, begin += columns) {
    for (let column = 0; column < columns; column++) rowBits[column] = bits[begin + column]! << 16
    let sum = 0
    for (let column = 0; column < columns; column++) sum += row[column]! * x[column]!
    y[at] = sum
  }
}
