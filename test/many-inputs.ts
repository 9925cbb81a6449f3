// How many inputs tests try that could try any number. `npm run test:long` tries many more.

/** Set by `npm run test:long`. */
export const LONG: boolean = process.env['ONECOPY_TEST_LONG'] === '1'

/** How fast-check tries a property: the same inputs in every run; it prints the seed of one that fails. */
export interface Tries {
  readonly numRuns: number
  readonly seed: number
}

/**
 * A number of inputs that takes a moment, and twenty times as many in the long set. `ONECOPY_TEST_SEED` tries others than in
 * every other run.
 */
export function tries(count: number): Tries {
  return { numRuns: LONG ? count * 20 : count, seed: Number(process.env['ONECOPY_TEST_SEED'] ?? 20_261_128) }
}

/** One input of `stride`, and all of them in the long set. A prime that no loop in the input has meets every case. */
export function* everyNth<Input>(inputs: Iterable<Input>, stride: number): Generator<Input> {
  let number = 0
  for (const input of inputs) if (LONG || number++ % stride === 0) yield input
}
