import { describe, expect, test } from 'vitest'
import { meet } from '../src/commands/demo/rendezvous.ts'

describe('meet', () => {
  test('lets the last one pass without waiting, and counts rounds apart', () => {
    const arrivals = new Int32Array(new SharedArrayBuffer(8))
    arrivals[1] = 2
    meet(arrivals, 1, 3)
    expect([...arrivals]).toEqual([0, 3])
  })
})
