// Says that it has begun, and ends in one of several ways.

/** @param {{ gate: Int32Array, way: string }} task */
export default function run({ gate, way }) {
  Atomics.add(gate, 0, 1)
  Atomics.notify(gate, 0)
  if (way === 'answers') return 'late'
  if (way === 'throws') throw new Error('late')
  if (way === 'throws outside') setImmediate(() => outside())
  if (way === 'exits') setImmediate(() => process.exit(3))
  if (way === 'spins') for (;;);
  return new Promise(() => {})
}

function outside() {
  throw new Error('late')
}

/** Answers, and fails afterwards. */
export function throwLater() {
  setTimeout(() => {
    throw Object.assign(new Error('late'), { code: 'LATE' })
  }, 10)
}
