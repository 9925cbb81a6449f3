/**
 * Names of one hash by FNV-1a, as many as a power of two: from each state on, two texts lead to the same next state, and
 * either may stand in every name.
 */
export function collidingNames(count: number): string[] {
  let names = ['']
  for (let state = 0x811c9dc5; names.length < count; ) {
    const { texts, next } = collisionFrom(state)
    names = names.flatMap((name) => texts.map((text) => name + text))
    state = next
  }
  return names
}

function collisionFrom(state: number): { readonly texts: readonly [string, string]; readonly next: number } {
  const seen = new Map<number, string>()
  for (let number = 0; ; number++) {
    // Scattered, since texts that differ in their last letters alone hardly ever have one hash.
    const text = (Math.imul(number, 0x9e3779b1) >>> 0).toString(36).padStart(7, '0')
    let next = state
    for (let at = 0; at < text.length; at++) next = Math.imul(next ^ text.charCodeAt(at), 0x01000193)
    const other = seen.get(next)
    if (other !== undefined) return { texts: [other, text], next }
    seen.set(next, text)
  }
}
