import { join } from 'node:path'
import { expect, it } from 'vitest'
import { absoluteSource } from '../src/index.ts'

it.each([
  ['model', join(process.cwd(), 'model')],
  ['/models/a', '/models/a'],
  ['hf:org/name@main', 'hf:org/name@main'],
  ['file:///models/a', 'file:///models/a'],
  [
    ['a.safetensors', '/b'],
    [join(process.cwd(), 'a.safetensors'), '/b'],
  ],
])('absoluteSource(%j) is %j', (source, absolute) => {
  expect(absoluteSource(source)).toEqual(absolute)
})
