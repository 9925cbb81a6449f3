import { expect, it } from 'vitest'
import { interleave } from '../harness/interleave.mjs'

it('interleave() gives each contender one trial in each round and drops the warm-ups', async () => {
  const order: string[] = []
  const contender = (id: string) => {
    let trial = 0
    const measure = async (): Promise<Record<string, number>> => {
      order.push(id)
      trial += 1
      return { ms: trial }
    }
    return { id, measure }
  }
  const samples = await interleave([contender('a'), contender('b'), contender('c')], { trials: 8, warmUps: 2 })
  for (const id of ['a', 'b', 'c']) expect(samples(id, 'ms')).toEqual([3, 4, 5, 6, 7, 8, 9, 10])
  const rounds = Array.from({ length: 10 }, (_, round) => order.slice(round * 3, round * 3 + 3))
  for (const round of rounds) expect(round.toSorted()).toEqual(['a', 'b', 'c'])
  // Nobody always runs after the same one.
  expect(new Set(rounds.map((round) => round.join(''))).size).toBeGreaterThan(1)
  expect(() => samples('a', 'wrong')).toThrow('There are no samples "wrong" of "a"')
  expect(samples.has('a', 'ms')).toBe(true)
})
