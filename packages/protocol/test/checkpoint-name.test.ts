import { describe, expect, it } from 'vitest'
import { isCheckpointName } from '../src/index.ts'

describe('isCheckpointName()', () => {
  it.each(['a', 'Llama-3.1_8B/q4', 'ünï', '7b', 'x'.repeat(200), '名'.repeat(66)])('takes %j', (name) => {
    expect(isCheckpointName(name)).toBe(true)
  })

  it.each([
    '',
    '.a',
    '../a',
    'a b',
    'a\0b',
    '\u{202e}abc',
    'e\u{301}',
    'x'.repeat(201),
    '名'.repeat(67),
    '\u{1d400}'.repeat(51),
  ])('refuses %j', (name) => {
    expect(isCheckpointName(name)).toBe(false)
  })
})
