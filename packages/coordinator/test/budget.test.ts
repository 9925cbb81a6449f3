import { describe, expect, it } from 'vitest'
import { Budget } from '../src/budget.ts'
import type { MemoryLimit } from '../src/memory-limit.ts'
import { type LoadedMemory, Version } from '../src/version.ts'
import { refusal } from './support.ts'

/** A budget over versions that are numbers on paper. */
function budgetOf(limit: number | MemoryLimit | null, versions: Version[]) {
  const evicted: string[] = []
  const pinned = new Set<Version>()
  const budget = new Budget(limit, {
    all: () => versions,
    pinned: (version) => pinned.has(version),
    evict: (version) => {
      evicted.push(version.checkpoint)
      version.unload()
      version.state = 'unloaded'
    },
  })
  return { budget, evicted, pinned }
}

function held(checkpoint: string, heldBytes: number, lastUsed = 0, leases = 0): Version {
  const version = new Version(checkpoint, 1, 'f', heldBytes)
  version.heldBytes = heldBytes
  version.lastUsed = lastUsed
  version.state = 'ready'
  for (let id = 0; id < leases; id++) version.leases.add({ id, version })
  return version
}

describe('Budget', () => {
  it('follows what the machine allows, and what is free at the moment', () => {
    let free = 70
    const versions = [held('a', 30, 0, 1)]
    const limit = { byteLength: 100, from: 'memory.max of /x', available: () => free }
    const { budget } = budgetOf(limit, versions)
    expect(budget).toMatchObject({ byteLength: 100, from: 'memory.max of /x' })
    budget.reserve(70, 'x')()
    free = 20
    budget.reserve(20, 'x')()
    const error = refusal(() => budget.reserve(21, 'x'))
    return expect(error).resolves.toMatchObject({
      code: 'BUDGET_EXCEEDED',
      message: expect.stringMatching(/100 bytes \(memory\.max of \/x.*no more than 50 bytes can be had now/),
    })
  })

  it('gives up what nobody holds when the machine has too little left', () => {
    const versions = [held('a', 30)]
    const { budget, evicted } = budgetOf({ byteLength: 100, from: 'x', available: () => 10 }, versions)
    budget.reserve(35, 'x')
    expect(evicted).toEqual(['a'])
  })

  it('reserve() counts at once, until it is given back, and giving back twice does nothing', () => {
    const { budget } = budgetOf(100, [held('a', 30, 0, 1)])
    const giveBack = budget.reserve(50, 'x')
    const other = budget.reserve(10, 'y')
    expect(budget.heldBytes).toBe(90)
    giveBack()
    giveBack()
    expect(budget.heldBytes).toBe(40)
    other()
    expect(budget.heldBytes).toBe(30)
  })

  it('reserve() gives up what nobody holds, least recently used first, and no more than is needed', () => {
    const versions = [held('newest', 30, 9), held('oldest', 10, 1), held('older', 20, 5), held('leased', 20, 0, 1)]
    const { budget, evicted } = budgetOf(100, versions)
    budget.reserve(20, 'x')
    expect(evicted).toEqual([])
    budget.reserve(15, 'y')
    expect(evicted).toEqual(['oldest', 'older'])
    expect(budget.heldBytes).toBe(85)
  })

  it('reserve() gives up neither what is leased, pinned or being published', async () => {
    const staging = held('staging', 10)
    staging.state = 'staging'
    const pin = held('pin', 20)
    const { budget, evicted, pinned } = budgetOf(100, [held('leased', 30, 0, 2), pin, staging, held('idle', 5)])
    pinned.add(pin)
    budget.reserve(20, 'x')
    const error = await refusal(() => budget.reserve(21, 'Checkpoint "big"'))
    expect(error).toMatchObject({ name: 'CoordinatorError', code: 'BUDGET_EXCEEDED' })
    expect(error.message).toBe(
      'Checkpoint "big" needs 21 bytes; the budget is 100 bytes, and leased@1 holds 30 bytes (2 leases), ' +
        'pin@1 holds 20 bytes (pinned), staging@1 holds 10 bytes (being published), 20 bytes are being loaded',
    )
    expect(error.holders).toEqual([
      { checkpoint: 'leased', version: 1, heldBytes: 30, leases: 2, pinned: false },
      { checkpoint: 'pin', version: 1, heldBytes: 20, leases: 0, pinned: true },
      { checkpoint: 'staging', version: 1, heldBytes: 10, leases: 0, pinned: false },
    ])
    expect(evicted).toEqual([])
    budget.reserve(20, 'y')
    expect(evicted).toEqual(['idle'])
  })

  it('reserve() counts the arenas of a version beside its own memory', async () => {
    const version = held('a', 30, 0, 2)
    version.memory = { checkpoint: { arenaBytes: 25 } } as LoadedMemory
    const { budget } = budgetOf(100, [version])
    expect(budget.heldBytes).toBe(55)
    const error = await refusal(() => budget.reserve(46, 'An arena'))
    expect(error.message).toContain('a@1 holds 55 bytes (2 leases)')
    expect(error.holders).toMatchObject([{ checkpoint: 'a', heldBytes: 55 }])
    budget.reserve(45, 'another')
  })

  it('reserve() gives nothing up for what would not fit anyway', async () => {
    const { budget, evicted } = budgetOf(100, [held('idle', 90)])
    const error = await refusal(() => budget.reserve(101, 'x'))
    expect(error.message).toBe('x needs 101 bytes; the budget is 100 bytes, and nothing else holds memory')
    expect(evicted).toEqual([])
    expect(budget.heldBytes).toBe(90)
    budget.reserve(100, 'y')
    expect(evicted).toEqual(['idle'])
  })

  it('reserve() lets in what needs nothing, also when more is held than the budget allows', () => {
    const { budget, evicted } = budgetOf(100, [held('handed back', 150, 0, 1), held('idle', 10)])
    budget.reserve(0, 'a file')
    expect(evicted).toEqual([])
    expect(() => budget.reserve(1, 'memory')).toThrow(/needs 1 bytes/)
  })

  it('without a limit takes everything, and still counts', () => {
    const { budget } = budgetOf(null, [held('a', 1e15, 0, 1)])
    budget.reserve(5e15, 'x')
    expect(budget.heldBytes).toBe(6e15)
  })
})
