import { expect, test } from 'vitest'
import { parseByteSize } from '../src/byte-size.ts'

// As accelerate's convert_file_size_to_int has it.
test.each([
  [0, 0],
  [12_345, 12_345],
  ['10GiB', 10 * 2 ** 30],
  ['10gib', 10 * 2 ** 30],
  ['1.5MiB', 1.5 * 2 ** 20],
  ['3KiB', 3072],
  ['20GB', 20e9],
  ['20gB', 20e9],
  ['20Gb', 2.5e9],
  ['20gb', 2.5e9],
  ['1Kb', 125],
  ['5.0MB', 5e6],
  ['.5KB', 500],
  ['0.0001KB', 0],
  ['5 GB', 5e9],
  ['1e3MB', 1e9],
  ['1Kib', 1024],
])('parseByteSize(%j) is %d', (size, bytes) => {
  expect(parseByteSize(size)).toBe(bytes)
})

test.each([-1, 1.5, Number.NaN, 2 ** 53, '10', '10TB', 'GB', '-1GB', '99999999999GB', '1GBs', '', null, 10n, {}])(
  'parseByteSize() of %s is null',
  (size) => {
    expect(parseByteSize(size)).toBeNull()
  },
)
