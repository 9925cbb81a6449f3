import fc from 'fast-check'

/**
 * A change of a few bytes; `repeat` puts a stretch that is there a second time, which makes keys stand twice, `space` puts
 * white space behind a token, which changes nothing of JSON whose strings have no token in them.
 */
export interface Change {
  readonly how: 'set' | 'cut' | 'insert' | 'repeat' | 'truncate' | 'space'
  readonly at: number // modulo the length, or the number of tokens
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

const spaceArbitrary: fc.Arbitrary<Change> = fc.record({
  how: fc.constant('space' as const),
  at: fc.nat(),
  byte: fc.constantFrom(...new TextEncoder().encode(' \n\t\r')),
  length: fc.constant(0),
})

/** One to three changes; those of one in four change nothing of what the JSON says. */
export const anyChanges: fc.Arbitrary<readonly Change[]> = fc.oneof(
  { weight: 3, arbitrary: fc.array(changeArbitrary, { minLength: 1, maxLength: 3 }) },
  { weight: 1, arbitrary: fc.array(spaceArbitrary, { minLength: 1, maxLength: 3 }) },
)

const TOKENS = new TextEncoder().encode('{}[],:')

export function changed(bytes: Uint8Array, changes: readonly Change[]): Uint8Array {
  return changes.reduce((all, { how, at, byte, length }) => {
    const tokens = how === 'space' ? [...all.keys()].filter((byte) => TOKENS.includes(all[byte]!)) : []
    const place = tokens.length > 0 ? tokens[at % tokens.length]! + 1 : all.length === 0 ? 0 : at % all.length
    const [before, rest] = [all.subarray(0, place), all.subarray(place)]
    if (how === 'truncate') return before.slice()
    if (how === 'repeat') return Uint8Array.from([...before, ...rest.subarray(0, length), ...rest])
    const keeps = how === 'insert' || how === 'space'
    return Uint8Array.from([...before, ...(how === 'cut' ? [] : [byte]), ...rest.subarray(keeps ? 0 : 1)])
  }, bytes)
}
