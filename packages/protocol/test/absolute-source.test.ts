import { join } from 'node:path'
import { expect, it } from 'vitest'
import { absoluteSource } from '../src/index.ts'

it.each([
  ['model', join(process.cwd(), 'model')],
  ['/models/a', '/models/a'],
  ['hf:org/name@main', 'hf:org/name@main'],
  ['file:///models/a', 'file:///models/a'],
  [new URL('file:///models/a%20b'), 'file:///models/a%20b'],
  [
    ['a.safetensors', '/b', 'file:///c'],
    [join(process.cwd(), 'a.safetensors'), '/b', 'file:///c'],
  ],
])('absoluteSource(%j) is %j', (source, absolute) => {
  expect(absoluteSource(source)).toEqual(absolute)
})

it.each([
  ['more files than a version can have', Array<string>(4096).fill('/a'), /list of 4096 files; at most 4095/],
  ['a path that is too long', `/${'a'.repeat(4096)}`, /path of 4097 bytes; at most 4096/],
  ['a path in a list that is too long in bytes', ['/a', `/${'é'.repeat(2100)}`], /path of 4201 bytes; at most 4096/],
  ['a name in the local cache that is too long', `hf:${'a'.repeat(4096)}`, /path of 4099 bytes/],
  ['an empty path', '', /empty text; it must be a path, or/],
  ['an empty path in a list', ['/a', ''], /empty text/],
  ['half a character', '/a\ud800', /half a character: "\/a\\ud800"/],
])('absoluteSource() refuses %s', (_, source, text) => {
  expect(() => absoluteSource(source)).toThrow(RangeError)
  expect(() => absoluteSource(source)).toThrow(text)
})

it('absoluteSource() takes as many files, and as long a path, as a message can carry', () => {
  expect(absoluteSource(Array<string>(4095).fill('/a'))).toHaveLength(4095)
  expect(absoluteSource(`/${'a'.repeat(4095)}`)).toHaveLength(4096)
})
