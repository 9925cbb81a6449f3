import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { tries } from '../../../test/many-inputs.ts'
import { assertPlainShardName, indexFileName, parseShardFileName, shardFileName } from '../src/shard-names.ts'
import { outcome, thrownBy } from './bytes.ts'

describe('shardFileName() and indexFileName()', () => {
  test('write the names that other libraries write', () => {
    expect(shardFileName({ index: 1, count: 3 })).toBe('model-00001-of-00003.safetensors')
    expect(shardFileName({ index: 1, count: 1 })).toBe('model.safetensors')
    expect(shardFileName({ variant: 'fp16', index: 1, count: 2 })).toBe('model.fp16-00001-of-00002.safetensors')
    expect(shardFileName({ stem: 'adapter_model', variant: 'fp16', index: 1, count: 1 })).toBe(
      'adapter_model.fp16.safetensors',
    )
    expect(shardFileName({ index: 123456, count: 234567 })).toBe('model-123456-of-234567.safetensors')
    expect(indexFileName()).toBe('model.safetensors.index.json')
    expect(indexFileName({ variant: 'fp16' })).toBe('model.safetensors.index.fp16.json')
    expect(indexFileName({ stem: 'diffusion_pytorch_model' })).toBe('diffusion_pytorch_model.safetensors.index.json')
  })

  test.each([
    [0, 1],
    [2, 1],
    [1.5, 2],
    [1, Number.NaN],
    [-1, 3],
  ])('refuse shard %s of %s', (index, count) => {
    expect(() => shardFileName({ index, count })).toThrow(RangeError)
  })
})

describe('parseShardFileName()', () => {
  test('undoes shardFileName()', () => {
    const word = fc.stringMatching(/^[a-z_][a-z0-9_-]{0,12}$/).filter((s) => !s.includes('-of-'))
    const numbers = fc.tuple(fc.integer({ min: 1, max: 200_000 }), fc.integer({ min: 1, max: 200_000 }))
    fc.assert(
      fc.property(word, fc.option(word), numbers, (stem, variant, pair) => {
        const [index, count] = [Math.min(...pair), Math.max(...pair)]
        const parsed = { stem, variant, index, count }
        expect(parseShardFileName(shardFileName(parsed))).toEqual(parsed)
      }),
      tries(100),
    )
  })

  test.each([
    ['model.safetensors', { stem: 'model', variant: null, index: 1, count: 1 }],
    ['model-1-of-61.safetensors', { stem: 'model', variant: null, index: 1, count: 61 }],
    ['model-00001-of-00002.fp16.safetensors', { stem: 'model', variant: 'fp16', index: 1, count: 2 }],
    ['a-00001-of-00002-00003-of-00004.safetensors', { stem: 'a-00001-of-00002', variant: null, index: 3, count: 4 }],
    ['model-00003-of-00002.safetensors', null],
    ['model-00000-of-00002.safetensors', null],
    ['model.safetensors.index.json', null],
    ['model.bin', null],
    ['.safetensors', null],
    ['', null],
  ])('reads %s', (name, expected) => {
    expect(parseShardFileName(name)).toEqual(expected)
  })

  test('takes time in proportion to the name', () => {
    expect(parseShardFileName(`${'-1-of-'.repeat(100_000)}.safetensors`)).not.toBeUndefined()
  })
})

describe('assertPlainShardName()', () => {
  test.each([
    'model-00001-of-00003.safetensors',
    'model.fp16-00001-of-00002.safetensors',
    'a',
    '.hidden',
    '...x',
    '..safetensors',
    'weights (1).safetensors',
    'ünïcode-重み.safetensors',
    'console.safetensors',
    'com10.safetensors',
    'auxiliary',
    '__proto__',
    '%2e%2e%2fetc', // names are never decoded as URLs
    '~',
  ])('accepts %j', (name) => {
    expect(outcome(() => assertPlainShardName(name))).toBe('ok')
  })

  test.each([
    '',
    '.',
    '..',
    '/',
    '/etc/passwd',
    'a/b',
    '../model.safetensors',
    './model.safetensors',
    'model.safetensors/',
    '\\',
    'a\\b',
    '..\\model.safetensors',
    '\\\\server\\share\\model.safetensors',
    '\\\\?\\C:\\x',
    'C:\\x',
    'C:/x',
    'C:x',
    'c:',
    'file:///etc/passwd',
    'file:x',
    'https://example.com/model.safetensors',
    'data:,x',
    'model.safetensors:stream',
    'model.safetensors\u0000.txt',
    '\u0000',
    'a\nb',
    'a\u007f',
    'a\u0085',
    '\ud800',
    'a.',
    'a ',
    '. ',
    '...',
    '.. ',
    'a?download=true',
    'a*',
    'a<b',
    'a|b',
    'a"b',
    'CON',
    'nul',
    'NUL.safetensors',
    'nul .safetensors',
    'com1',
    'LPT9.x.y',
    'COM\u00b9.safetensors',
    'conin$',
  ])('refuses %j', (name) => {
    expect(thrownBy(() => assertPlainShardName(name))).toMatchObject({
      code: 'SAFETENSORS_UNSAFE_SHARD_NAME',
      details: { shardName: name },
    })
  })
})
