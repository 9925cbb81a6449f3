import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { saveCheckpoint } from '@onecopy/checkpoint'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { HAS_ADDON } from '../../../test/has-addon.ts'
import { type CoordinatorEvent, startCoordinator } from '../src/coordinator.ts'

describe.skipIf(!HAS_ADDON)('a writer to a published file', () => {
  let folder: string
  let model: string

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'onecopy-guard-'))
    model = join(folder, 'model')
    await saveCheckpoint(model, [{ name: 'a', dtype: 'U8', shape: [4096], data: new Uint8Array(4096).fill(7) }])
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  const shard = (): string => join(model, 'model.safetensors')
  async function cut(): Promise<void> {
    await once(spawn('sh', ['-c', `: > '${shard()}'`]), 'exit')
  }

  it('is told of and let in with the policy warn', async () => {
    await using coordinator = await startCoordinator({ socket: join(folder, 's', 'socket') })
    const events: CoordinatorEvent[] = []
    coordinator.on('event', (event) => events.push(event))
    await coordinator.publish('m', model)
    await cut()
    expect(events).toContainEqual({ type: 'writer', checkpoint: 'm', version: 1, path: shard() })
    expect(statSync(shard()).size).toBe(0)
    expect((await coordinator.status()).checkpoints[0]?.versions).toMatchObject([{ version: 1, changed: true }])
  })

  it('waits for a sealed copy, published as the next version, with the policy seal', async () => {
    await using coordinator = await startCoordinator({ socket: join(folder, 's', 'socket'), whenWritten: 'seal' })
    await coordinator.publish('m', model)
    await cut()
    const [checkpoint] = (await coordinator.status()).checkpoints
    expect(checkpoint).toMatchObject({ backing: 'sealed', versions: [{ version: 2, state: 'ready', tensors: 1 }] })
  })

  it('is not noticed with the policy ignore, or once the version was retired', async () => {
    await using coordinator = await startCoordinator({ socket: join(folder, 's', 'socket'), whenWritten: 'ignore' })
    const events: string[] = []
    coordinator.on('event', ({ type }) => events.push(type))
    await coordinator.publish('m', model)
    await cut()
    expect(events).toEqual(['loaded', 'published'])
  })
})
