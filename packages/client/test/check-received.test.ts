import { openSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { adoptDescriptor, type Descriptor, sealBytes } from '@onecopy/sharedarraybuffer-utils'
import { describe, expect, it, onTestFinished } from 'vitest'
import { checkReceived } from '../src/check-received.ts'
import { grantOf, refusal, saveModel, temporaryFolder } from './support.ts'

describe('checkReceived()', () => {
  async function refused(...args: Parameters<typeof checkReceived>): Promise<string> {
    const error = await refusal(() => checkReceived(...args))
    expect(error).toMatchObject({ name: 'CoordinatorError', code: 'RECEIVED_INVALID', checkpoint: 'a' })
    return error.message.replace('What the coordinator sent for checkpoint "a" is not used: ', '')
  }

  function open(path: string): Descriptor {
    const descriptor = adoptDescriptor(openSync(path, 'r'))
    onTestFinished(() => descriptor.close())
    return descriptor
  }

  it('takes sealed memory of the sizes that were said, and files where files were said', async () => {
    const folder = await saveModel(join(temporaryFolder(), 'model'))
    const { granted, descriptors } = await grantOf(folder)
    checkReceived(granted, descriptors)
    const files = granted.shards.map(({ name }) => open(join(folder, name)))
    checkReceived({ ...granted, backing: 'file' }, [descriptors[0]!, ...files])
    expect(await refused(granted, [descriptors[0]!, ...files])).toBe(
      `shard "${granted.shards[0]!.name}" is not sealed memory`,
    )
    expect(await refused({ ...granted, backing: 'file' }, [files[0]!, ...files])).toBe(
      'its directory is not sealed memory',
    )
  })

  it('takes arenas only as sealed memory, whatever the shards are', async () => {
    const folder = await saveModel(join(temporaryFolder(), 'model'))
    const { granted, descriptors } = await grantOf(folder)
    using arena = sealBytes(new Uint8Array(100), 'arena')
    const arenas = [{ name: 'arena 1', byteLength: 100 }]
    const shards = granted.shards.map(({ name }) => open(join(folder, name)))
    const file = open(await fileOf(folder, 100))
    for (const [backing, given] of [
      ['sealed', descriptors],
      ['file', [descriptors[0]!, ...shards]],
    ] as const) {
      checkReceived({ ...granted, backing, arenas }, [...given, arena.descriptor])
      expect(await refused({ ...granted, backing, arenas }, [...given, file])).toBe(
        'its "arena 1" is not sealed memory',
      )
      const longer = [{ name: 'arena 1', byteLength: 101 }]
      expect(await refused({ ...granted, backing, arenas: longer }, [...given, arena.descriptor])).toBe(
        'its "arena 1" has 100 bytes; it must have 101',
      )
    }
  })

  async function fileOf(folder: string, byteLength: number): Promise<string> {
    const path = join(folder, `${byteLength} bytes`)
    writeFileSync(path, new Uint8Array(byteLength))
    return path
  }

  it('refuses other sizes, and what is neither file nor memory', async () => {
    const folder = await saveModel(join(temporaryFolder(), 'model'))
    const { granted, descriptors } = await grantOf(folder)
    const [{ name, byteLength }] = granted.shards as [{ name: string; byteLength: number }]
    using other = sealBytes(new Uint8Array(7), 'other')
    expect(await refused(granted, descriptors.with(1, other.descriptor))).toBe(
      `shard "${name}" has 7 bytes; it must have ${byteLength}`,
    )
    truncateSync(join(folder, name), 100)
    const cut = descriptors.with(1, open(join(folder, name)))
    expect(await refused({ ...granted, backing: 'file' }, cut)).toContain('has 100 bytes')
    for (const path of [folder, '/dev/zero']) {
      expect(await refused(granted, descriptors.with(1, open(path)))).toBe(`shard "${name}" is not a file`)
    }
    writeFileSync(join(folder, name), '')
  })
})
