import { appendFileSync, copyFileSync, renameSync, rmSync, truncateSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openCheckpoint } from '@onecopy/checkpoint'
import { describe, expect, it } from 'vitest'
import { Registry } from '../src/registry.ts'
import { ResidencyMeter } from '../src/residency-meter.ts'
import { checkpointStatuses, filesChanged } from '../src/status.ts'
import { modelBytes, saveModel, temporaryFolder } from './support.ts'

describe('checkpointStatuses()', () => {
  it('shows names, sources and versions in all their states, with bytes, tensors and leases', async () => {
    const folder = temporaryFolder()
    const [one, two] = [await saveModel(join(folder, '1')), await saveModel(join(folder, '2'), { fill: 5, shards: 3 })]
    const registry = new Registry(null)
    await registry.publish('a', one, { backing: 'sealed', pinned: true })
    await registry.acquire('a', null)
    await registry.acquire('a', null)
    await registry.publish('a', two)
    await registry.publish('later', one, { load: 'on-demand', backing: 'sealed' })
    const [first, second] = [modelBytes(one), modelBytes(two)]
    const text = expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/)
    const fingerprint = expect.stringMatching(/^[0-9a-f]{64}$/)
    const common = { fingerprint, since: text, changed: false }
    expect(await checkpointStatuses(registry, new ResidencyMeter())).toEqual([
      {
        name: 'a',
        source: two,
        backing: 'file',
        pinned: false,
        versions: [
          {
            ...common,
            version: 1,
            state: 'releasing',
            byteLength: first,
            heldBytes: first,
            arenaBytes: 0,
            residentBytes: 2 * 4096,
            shards: 2,
            tensors: 2,
            leases: 2,
          },
          {
            ...common,
            version: 2,
            state: 'ready',
            byteLength: second,
            heldBytes: 0,
            arenaBytes: 0,
            residentBytes: expect.any(Number),
            shards: 3,
            tensors: 3,
            leases: 0,
          },
        ],
      },
      {
        name: 'later',
        source: one,
        backing: 'sealed',
        pinned: false,
        versions: [
          {
            ...common,
            version: 1,
            state: 'unloaded',
            byteLength: first,
            heldBytes: 0,
            arenaBytes: 0,
            residentBytes: null,
            shards: 0,
            tensors: 0,
            leases: 0,
          },
        ],
      },
    ])
    registry.close()
    expect(await checkpointStatuses(registry, null)).toEqual([])
  })
})

describe('filesChanged()', () => {
  const changes: Readonly<Record<string, (shard: string) => void>> = {
    'is written to': (shard) => appendFileSync(shard, 'x'),
    'is cut': (shard) => truncateSync(shard, 100),
    'is deleted': (shard) => rmSync(shard),
    'is replaced by a copy': (shard) => {
      copyFileSync(shard, `${shard}.new`)
      renameSync(`${shard}.new`, shard)
    },
    'is overwritten with as many bytes': (shard) => {
      const { atimeMs, mtimeMs } = { atimeMs: 1, mtimeMs: 2 }
      writeFileSync(shard, 'x', { flag: 'r+' })
      utimesSync(shard, atimeMs, mtimeMs)
    },
    'has become a folder’s name': (shard) => renameSync(shard, `${shard}.gone`),
  }

  it.each(['file', 'sealed'] as const)('is false for what lies as it was opened, on %s backing', async (backing) => {
    const model = await saveModel(join(temporaryFolder(), 'model'))
    using checkpoint = await openCheckpoint(model, { backing })
    expect(await filesChanged(checkpoint)).toBe(false)
  })

  it.each(Object.keys(changes))('is true when a shard %s', async (name) => {
    const model = await saveModel(join(temporaryFolder(), 'model'))
    using checkpoint = await openCheckpoint(model)
    changes[name]!(join(model, 'model-00002-of-00002.safetensors'))
    expect(await filesChanged(checkpoint)).toBe(true)
  })
})
