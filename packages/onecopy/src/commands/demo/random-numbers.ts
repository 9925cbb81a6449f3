/**
 * Uniform numbers in [0, 1), the same for the same seed on every machine: mulberry32 by Tommy Ettinger, public domain.
 */
export function uniformNumbers(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Normally distributed values in BF16, as their bits: Box-Muller, rounded to nearest even. */
export function normalBf16(out: Uint16Array, mean: number, deviation: number, seed: number): void {
  const uniform = uniformNumbers(seed)
  const float = new Float32Array(1)
  const bits = new Uint32Array(float.buffer)
  const round = (value: number): number => {
    float[0] = value
    return (bits[0]! + 0x7fff + ((bits[0]! >>> 16) & 1)) >>> 16
  }
  for (let at = 0; at < out.length; at += 2) {
    const radius = deviation * Math.sqrt(-2 * Math.log(1 - uniform()))
    const angle = 2 * Math.PI * uniform()
    out[at] = round(mean + radius * Math.cos(angle))
    // Beyond an odd end, a write to a typed array is ignored.
    out[at + 1] = round(mean + radius * Math.sin(angle))
  }
}
