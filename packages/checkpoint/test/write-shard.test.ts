import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parseSafetensors } from '@onecopy/safetensors'
import { describe, expect, test } from 'vitest'
import { writeShard } from '../src/write-shard.ts'
import { noise, refusal, temporaryFolder, tensor, write } from './support.ts'

const quiet = { onBytes: () => {}, signal: undefined }

describe('writeShard()', () => {
  test('writes the widest dtype first, aligned to 8 bytes, with the metadata', async () => {
    const path = join(temporaryFolder(), 'x')
    const raw = [tensor('b', 'U8', [3]), tensor('a', 'U8', [5]), tensor('wide', 'F64', [2])]
    await writeShard(
      path,
      raw.map(({ bytes, ...spec }) => ({ ...spec, data: bytes })),
      { k: 'v' },
      quiet,
    )
    const file = readFileSync(path)
    const { tensors, metadata } = parseSafetensors(file)
    expect([...tensors.keys()]).toEqual(['wide', 'a', 'b'])
    expect(metadata).toEqual(new Map([['k', 'v']]))
    const header = 8 + Number(file.readBigUInt64LE())
    expect(header % 8).toBe(0)
    expect(new Uint8Array(file.subarray(header))).toEqual(
      new Uint8Array(Buffer.concat([raw[2]!.bytes, raw[1]!.bytes, raw[0]!.bytes])),
    )
  })

  test('writes tensors larger than one write call', async () => {
    const path = join(temporaryFolder(), 'x')
    const data = new Uint8Array(65 * 2 ** 20)
    data.set(noise(8), 64 * 2 ** 20 - 4)
    const steps: number[] = []
    const hooks = { onBytes: (byteLength: number) => steps.push(byteLength), signal: undefined }
    await writeShard(path, [{ name: 'a', dtype: 'U8', shape: [data.length], data }], null, hooks)
    const { size } = statSync(path)
    expect(steps.reduce((sum, step) => sum + step, 0)).toBe(size)
    expect(steps.length).toBeGreaterThanOrEqual(3)
    const at = size - data.length + 64 * 2 ** 20 - 4
    expect(new Uint8Array(readFileSync(path).subarray(at, at + 8))).toEqual(noise(8))
  })

  test('never writes over a file that is there', async () => {
    const path = write(temporaryFolder(), 'x', 'old')
    expect((await refusal(writeShard(path, [], null, quiet))).code).toBe('EEXIST')
    expect(readFileSync(path, 'utf8')).toBe('old')
  })

  test('refuses metadata that is no text before it makes a file', async () => {
    const path = join(temporaryFolder(), 'x')
    const metadata = { a: 1 } as unknown as Record<string, string>
    expect(await refusal(writeShard(path, [], metadata, quiet))).toBeInstanceOf(TypeError)
    expect(existsSync(path)).toBe(false)
  })
})
