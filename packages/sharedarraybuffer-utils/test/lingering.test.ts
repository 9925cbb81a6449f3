import { expect, test } from 'vitest'
import { ask, describeWithAddon } from './support.ts'

describeWithAddon('lingeringBytes()', () => {
  // None of these scripts asks for a collection; what waits for one ends with the script's own limit of time.
  const SEALED = `
    const BYTES = 64 * 2 ** 20
    const bytes = new Uint8Array(BYTES)
    const read = (mapping) => new Uint8Array(mapping.buffer(0, BYTES))[4096]
    const gone = async () => { while (memory.lingeringBytes() > 0) await turn() }
  `

  test('counts sealed memory whose buffers live on after it was closed, in whichever thread, until they are dropped', () => {
    const script = `${SEALED}
      const mapping = memory.sealBytes(bytes, 'x')
      const other = memory.adoptFileMapping(mapping.share())
      let buffer = mapping.buffer(0, BYTES)
      mapping.close()
      const seen = [memory.lingeringBytes()]
      other.close()
      seen.push(memory.lingeringBytes())
      buffer = null
      await gone()
      answer([...seen, memory.mappingCount()])`
    expect(ask(script)).toEqual([0, 64 * 2 ** 20, 0])
  })

  test('stays small while sealed memory is made, read and closed again and again', () => {
    const script = `${SEALED}
      let most = 0
      for (let round = 0; round < 20; round++) {
        const sealed = memory.sealBytes(bytes, 'x')
        read(sealed)
        sealed.close()
        most = Math.max(most, memory.lingeringBytes() / BYTES)
        await turn()
      }
      await gone()
      answer(most)`
    expect(ask(script)).toBeLessThanOrEqual(5)
  })

  test('keeps no process alive', () => {
    const script = `${SEALED}
      const mapping = memory.sealBytes(bytes, 'x')
      globalThis.kept = mapping.buffer(0, BYTES)
      mapping.close()
      answer(memory.lingeringBytes())`
    expect(ask(script)).toBe(64 * 2 ** 20)
  })
})
