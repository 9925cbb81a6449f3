import { join } from 'node:path'
import type { FileMapping } from '@onecopy/sharedarraybuffer-utils'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { gatherSelection } from '../src/gather-selection.ts'
import { Registry } from '../src/registry.ts'
import type { Version } from '../src/version.ts'
import { columns, modelBytes, refusal, saveMatrices, temporaryFolder } from './support.ts'

/** Bytes of ten columns of both matrices. */
const TEN_COLUMNS = 2 * 64 * 10

describe('gatherSelection()', () => {
  let model: string
  let registry: Registry
  let version: Version

  async function serve(budgetBytes: number | null): Promise<void> {
    registry = new Registry(budgetBytes)
    await registry.publish('m', model, { backing: 'sealed' })
    version = (await registry.acquire('m', null)).version
  }

  beforeEach(async () => {
    model = await saveMatrices(join(temporaryFolder(), 'model'))
    await serve(null)
  })

  afterEach(() => registry.close())

  const gather = (selection: unknown, signal = new AbortController().signal) =>
    gatherSelection(
      version,
      typeof selection === 'string' ? selection : JSON.stringify(selection),
      registry.budget,
      signal,
    )

  it('gives the arenas that a selection needs, sealed, and none where it needs none', async () => {
    const held = await gather(columns(0, 10))
    expect(held.arenas).toHaveLength(1)
    expect((held.arenas[0]!.memory as FileMapping).backing).toBe('sealed')
    expect([...held.arenas[0]!.header.tensors.keys()]).toEqual([
      '["a",[[[0,64]],[[0,10]]]]',
      '["b",[[[0,64]],[[0,10]]]]',
    ])
    for (const selection of [
      { tensors: [] },
      { tensors: [{ name: 'a' }] },
      { tensors: [{ name: 'a', ranges: [[3, 9]] }] },
    ]) {
      expect((await gather(selection)).arenas).toEqual([])
    }
    held.release()
    expect(version.arenaBytes).toBe(0)
  })

  it('gathers for many at a time what one of them lacks, once', async () => {
    const all = await Promise.all(
      [columns(0, 10), columns(0, 10), columns(10, 20), columns(0, 10)].map((each) => gather(each)),
    )
    expect(new Set(all.flatMap(({ arenas }) => arenas)).size).toBe(2)
    expect(registry.budget.heldBytes).toBe(modelBytes(model) + version.arenaBytes)
    for (const held of all) held.release()
    expect(registry.budget.heldBytes).toBe(modelBytes(model))
  })

  it.each([
    ['', undefined],
    ['{', undefined],
    ['null', 'SAFETENSORS_INVALID_SELECTION'],
    ['{"tensors":[null]}', 'SAFETENSORS_INVALID_SELECTION'],
    ['{"tensors":[{"name":"__proto__"}]}', 'SAFETENSORS_INVALID_SELECTION'],
    ['{"tensors":[{"name":"a","ranges":[[0,1e99]]}]}', 'SAFETENSORS_INVALID_SLICE'],
  ])('refuses the text %j', async (text, causeCode) => {
    const error = await refusal(gather(text))
    expect(error).toMatchObject({ name: 'CoordinatorError', code: 'SELECTION_REFUSED', checkpoint: 'm', version: 1 })
    expect((error as { causeCode?: string }).causeCode).toBe(causeCode)
    expect(registry.budget.heldBytes).toBe(modelBytes(model))
  })

  it('refuses what the budget has no room for, and gathers what fits', async () => {
    registry.close()
    await serve(modelBytes(model) + 2 * TEN_COLUMNS)
    const held = await gather(columns(0, 10))
    const error = await refusal(gather(columns(10, 30)))
    expect(error).toMatchObject({ code: 'BUDGET_EXCEEDED', holders: [{ checkpoint: 'm', leases: 1 }] })
    expect(error.message).toMatch(/^An arena of checkpoint "m" needs \d+ bytes; the budget is /)
    expect(registry.budget.heldBytes).toBe(modelBytes(model) + version.arenaBytes)
    // What is there already needs no room.
    expect((await gather(columns(0, 10))).arenas).toEqual(held.arenas)
  })

  it('makes room by giving up what nobody holds', async () => {
    registry.close()
    await serve(2 * modelBytes(model) + TEN_COLUMNS)
    await registry.publish('idle', await saveMatrices(join(temporaryFolder(), 'idle')), { backing: 'sealed' })
    await gather(columns(0, 30))
    expect(registry.entry('idle')!.current).toMatchObject({ state: 'unloaded', heldBytes: 0 })
  })

  it('ends with its signal, whether it waits or gathers, and the next one gets its turn', async () => {
    const stop = new AbortController()
    const gone = [gather(columns(0, 10), stop.signal), gather(columns(10, 20), stop.signal)].map(refusal)
    const stays = gather(columns(0, 10))
    stop.abort()
    expect((await Promise.all(gone)).map(({ name }) => name)).toEqual(['AbortError', 'AbortError'])
    expect((await stays).arenas).toHaveLength(1)
    expect(registry.budget.heldBytes).toBe(modelBytes(model) + version.arenaBytes)
  })
})
