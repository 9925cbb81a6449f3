import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { tries } from '../../../test/many-inputs.ts'
import { checkLayout } from '../src/check-layout.ts'
import { type ScannedHeader, scanHeader } from '../src/scan-header.ts'
import { entry, outcome, thrownBy, utf8 } from './bytes.ts'

const scanned = (...entries: string[]): ScannedHeader => scanHeader(utf8(`{${entries.join(',')}}`))

describe('checkLayout()', () => {
  test('puts tensors in the order of their data; zero-size ones keep theirs', () => {
    const header = scanned(
      entry('last', 'U8', '[1]', '[3,4]'),
      entry('z', 'U8', '[0]', '[2,2]'),
      entry('middle', 'U8', '[1]', '[2,3]'),
      entry('y', 'U8', '[0]', '[2,2]'),
      entry('first', 'U8', '[2]', '[0,2]'),
    )
    expect([...checkLayout(header, 4).keys()]).toEqual(['first', 'z', 'y', 'middle', 'last'])
  })

  test('finds the same order as a plain sort', () => {
    const sizes = fc.array(fc.constantFrom(0, 0, 1, 2, 5), { maxLength: 30 })
    fc.assert(
      fc.property(sizes, fc.infiniteStream(fc.nat()), (list, randoms) => {
        let cursor = 0
        const ordered = list.map((size, i) => {
          const begin = cursor
          cursor += size
          return { begin, end: cursor, text: entry(`t${i}`, 'U8', `[${size}]`, `[${begin},${cursor}]`), name: `t${i}` }
        })
        const shuffled = ordered.map((item) => ({ ...item, key: randoms.next().value! })).sort((a, b) => a.key - b.key)
        const order = [...shuffled].sort((a, b) => a.begin - b.begin || a.end - b.end).map(({ name }) => name)
        expect([...checkLayout(scanned(...shuffled.map(({ text }) => text)), cursor).keys()]).toEqual(order)
      }),
      tries(100),
    )
  })

  test('compares offsets exactly where doubles are equal', () => {
    const [a, b] = [2n ** 53n, 2n ** 53n + 1n]
    const header = scanned(
      entry('c', 'U8', '[1]', `[${b},${b + 1n}]`),
      entry('b', 'U8', '[1]', `[${a},${b}]`),
      entry('a', 'U8', `[${a}]`, `[0,${a}]`),
    )
    const error = thrownBy(() => checkLayout(header, 2 ** 53 - 1))
    expect(error.code).toBe('SAFETENSORS_METADATA_INCOMPLETE_BUFFER')
    expect(error.details).toMatchObject({ expected: b + 1n })
  })

  test('finds a duplicate before any fault of the layout', () => {
    const bad = entry('a', 'U8', '[1]', '[5,6]')
    expect(outcome(() => checkLayout(scanned(bad, bad), 0))).toBe('SAFETENSORS_DUPLICATE_KEY')
    expect(outcome(() => checkLayout(scanned(bad, entry('z', 'U8', '[0]', '[0,0]'), bad), 0))).toBe(
      'SAFETENSORS_DUPLICATE_KEY',
    )
  })

  test('reports the first tensor at fault in the order of the data', () => {
    const header = scanned(entry('b', 'U8', '[9]', '[3,4]'), entry('a', 'U8', '[1]', '[0,2]'))
    expect(thrownBy(() => checkLayout(header, 4))).toMatchObject({
      code: 'SAFETENSORS_TENSOR_INVALID_INFO',
      tensor: 'a',
      message: 'Tensor "a" has 2 bytes of data, but its dtype and shape need 1',
    })
  })

  test('names what was and what must be', () => {
    const hole = scanned(entry('a', 'U8', '[1]', '[0,1]'), entry('b', 'U8', '[1]', '[2,3]'))
    expect(thrownBy(() => checkLayout(hole, 3))).toMatchObject({
      message: 'Tensor "b" has data_offsets [2, 3], but must begin at 1, where the one before it ends',
      details: { begin: 2, end: 3, expectedBegin: 1 },
    })
    const reversed = scanned(entry('a', 'U8', '[1]', '[0,1]'), entry('b', 'U8', '[1]', '[1,0]'))
    expect(thrownBy(() => checkLayout(reversed, 1)).message).toMatch(/must not end before it begins$/)
    expect(thrownBy(() => checkLayout(scanned(), 3)).message).toBe(
      'The tensors take 0 bytes, but 3 bytes follow the header',
    )
  })
})
