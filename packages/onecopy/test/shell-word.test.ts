import { execFileSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { shellWord } from '../src/terminal/shell-word.ts'

describe('shellWord', () => {
  test('leaves plain words as they are', () => {
    expect(shellWord('/run/user/1000/one-copy.sock')).toBe('/run/user/1000/one-copy.sock')
  })

  test.each(['', 'a b', "it's", '$HOME', '`id`', 'a;b', '"', '~', '名', 'a\nb'])(
    'a shell reads %j as it was',
    (text) => {
      expect(execFileSync('sh', ['-c', `printf %s ${shellWord(text)}`], { encoding: 'utf8' })).toBe(text)
    },
  )
})
