import fc from 'fast-check'

/** A change of a few bytes; `repeat` puts a stretch that is there a second time, which makes keys stand twice. */
export interface Change {
  readonly how: 'set' | 'cut' | 'insert' | 'repeat' | 'truncate'
  readonly at: number // modulo the length
  readonly byte: number
  readonly length: number
}

const changeArbitrary: fc.Arbitrary<Change> = fc.record({
  how: fc.constantFrom('set', 'set', 'cut', 'insert', 'insert', 'repeat', 'truncate'),
  at: fc.nat(),
  // Bytes that mean something in JSON as often as any others.
  byte: fc.oneof(fc.nat(255), fc.constantFrom(...new TextEncoder().encode('"\\,:{}[] \n\t0123456789abU8'))),
  length: fc.nat(80),
})

/** One to three changes. */
export const anyChanges: fc.Arbitrary<readonly Change[]> = fc.array(changeArbitrary, { minLength: 1, maxLength: 3 })

export function changed(bytes: Uint8Array, changes: readonly Change[]): Uint8Array {
  return changes.reduce((all, { how, at, byte, length }) => {
    const place = all.length === 0 ? 0 : at % all.length
    const [before, rest] = [all.subarray(0, place), all.subarray(place)]
    if (how === 'truncate') return before.slice()
    if (how === 'repeat') return Uint8Array.from([...before, ...rest.subarray(0, length), ...rest])
    return Uint8Array.from([...before, ...(how === 'cut' ? [] : [byte]), ...rest.subarray(how === 'insert' ? 0 : 1)])
  }, bytes)
}
