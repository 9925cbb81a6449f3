import { mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { addServed, parseServed } from '../src/commands/serve/served-checkpoint.ts'
import { temporaryFolder } from './run-onecopy.ts'

describe('parseServed', () => {
  test.each([
    ['mistral=/models/m', 'mistral', '/models/m'],
    ['org/name=/models/m', 'org/name', '/models/m'],
    ['/models/mistral-7b', 'mistral-7b', '/models/mistral-7b'],
    ['/models/mistral-7b/', 'mistral-7b', '/models/mistral-7b'],
    ['/models/a=b', 'a=b', '/models/a=b'],
    ['./a=b', 'a=b', resolve('a=b')],
    ['/models/m/weights.safetensors', 'weights', '/models/m/weights.safetensors'],
    ['/models/m/model.safetensors.index.json', 'm', '/models/m/model.safetensors.index.json'],
    ['file:///models/m', 'm', 'file:///models/m'],
    ['hf:org/name', 'org/name', 'hf:org/name'],
    ['hf:org/name@a=b', 'org/name', 'hf:org/name@a=b'],
    ['x=hf:org/name@main', 'x', 'hf:org/name@main'],
    ['x=a=b', 'x', resolve('a=b')],
    ['=x', '=x', resolve('=x')],
    ['m=~/models/m', 'm', join(homedir(), 'models/m')],
    ['~/models/m', 'm', join(homedir(), 'models/m')],
    ['m=./~/m', 'm', resolve('./~/m')],
  ])('%s is %s from %s', (text, name, source) => {
    expect(parseServed(text)).toEqual({ name, source })
  })

  test('a path that exists as it stands has no name before it', () => {
    const before = process.cwd()
    const folder = temporaryFolder()
    mkdirSync(join(folder, 'x=y'))
    process.chdir(folder)
    try {
      expect(parseServed('x=y').name).toBe('x=y')
    } finally {
      process.chdir(before)
    }
  })

  test('a name without a checkpoint is refused', () => {
    expect(() => parseServed('x=')).toThrow('After the name there must be a checkpoint.')
  })
})

describe('addServed', () => {
  test('adds in order, and refuses a name that is taken, saying by what', () => {
    const two = addServed('b=/y', addServed('a=/x'))
    expect(two.map(({ name }) => name)).toEqual(['a', 'b'])
    expect(() => addServed('/z/a', two)).toThrow('The name "a" is taken by /x; give this one another: <name>=/z/a')
  })
})
