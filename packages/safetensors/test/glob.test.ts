import { describe, expect, test } from 'vitest'
import { escapeGlob, GlobError, moduleGlob, parseGlob } from '../src/glob.ts'

function messageOf(glob: string): string {
  try {
    parseGlob(glob)
  } catch (error) {
    expect(error).toBeInstanceOf(GlobError)
    return (error as GlobError).message
  }
  throw new Error(`${glob} was taken`)
}

describe('parseGlob()', () => {
  test('joins plain text, takes a backslash out, and more than two stars are two', () => {
    expect(parseGlob('a\\*b')).toEqual([{ kind: 'text', text: 'a*b' }])
    expect(parseGlob('*****')).toEqual([{ kind: 'run', dots: true }])
  })

  test('lets every choice go on behind the braces', () => {
    expect(parseGlob('{a,}b')).toEqual([
      { kind: 'fork', targets: [1, 3], end: 3 },
      { kind: 'text', text: 'a' },
      { kind: 'jump', target: 3 },
      { kind: 'text', text: 'b' },
    ])
  })

  test('refuses braces that nest or do not close, and says so', () => {
    expect(messageOf('{a,{b,c}}')).toMatch(/braces inside braces/)
    expect(messageOf('{a,{layer}}')).toMatch(/braces inside braces/)
    expect(messageOf('{a,b')).toMatch(/opening brace without a closing one/)
    expect(messageOf('{layer')).toMatch(/opening brace without a closing one/)
    expect(messageOf('a}')).toMatch(/closing brace without an opening one/)
    expect(messageOf('a\\')).toMatch(/ends in a backslash/)
  })

  test('refuses words in braces that are no number', () => {
    const rule = 'only {layer} and {expert} stand for numbers, and a single choice needs no braces'
    expect(messageOf('{lyer}')).toBe(`has {lyer}, but ${rule}`)
  })

  test('refuses a number twice, and numbers that no name could have', () => {
    expect(messageOf('{layer}.{layer}')).toMatch(/\{layer\} twice/)
    expect(messageOf('{layer}{expert}')).toMatch(/digits next to \{layer\}/)
    expect(messageOf('1{layer}')).toMatch(/digits next to \{layer\}/)
    expect(messageOf('{expert}0.w')).toMatch(/digits next to \{expert\}/)
  })
})

test('escapeGlob() and moduleGlob() take a name as it is, whatever is in it', () => {
  const name = 'a{b,c}*?\\.{layer}'
  expect(parseGlob(escapeGlob(name))).toEqual([{ kind: 'text', text: name }])
  expect(parseGlob(moduleGlob(name)).slice(0, 2)).toEqual([
    { kind: 'text', text: name },
    { kind: 'fork', targets: [2, 3], end: 5 },
  ])
})
