import { expect, expectTypeOf, test } from 'vitest'
import type { ReadonlyTypedArray, TensorView } from '../src/index.ts'

// Never called: the compiler is the test. `npm run typecheck` fails when one of these lines becomes possible.
export function whatDoesNotCompile(view: TensorView): void {
  const { data } = view
  // @ts-expect-error an element cannot be assigned
  view.data[0] = 1
  // @ts-expect-error there is no set
  view.data.set([1])
  // @ts-expect-error there is no fill
  view.data.fill(0)
  // @ts-expect-error there is no sort
  data.sort()
  // @ts-expect-error there is no reverse
  data.reverse()
  // @ts-expect-error there is no copyWithin
  data.copyWithin(0, 1)
  // @ts-expect-error there is no subarray, which would be writable
  data.subarray(1)
  // @ts-expect-error it is not taken for an array that may be written to
  const writable: Float32Array | Uint8Array = view.data
  // @ts-expect-error the view keeps its array
  view.data = writable
  // @ts-expect-error the view keeps its buffer
  view.buffer = new SharedArrayBuffer(1)
  // @ts-expect-error the shape is not for changing
  view.shape[0] = 1
}

test('ReadonlyTypedArray can be read like the array that it is', () => {
  const data: ReadonlyTypedArray = new Float32Array(new SharedArrayBuffer(8))
  expectTypeOf(data[0]).toEqualTypeOf<number | undefined>()
  expectTypeOf<ReadonlyTypedArray['length']>().toEqualTypeOf<number>()
  expectTypeOf<ReadonlyTypedArray['buffer']>().toEqualTypeOf<SharedArrayBuffer>()
  expect(data.at(-1)).toBe(0)
  expect([...data.slice(0, 1)]).toEqual([0])
})
