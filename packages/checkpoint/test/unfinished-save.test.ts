import { copyFileSync, mkdirSync, readdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { addonFailure } from '@onecopy/sharedarraybuffer-utils'
import { describe, expect, test } from 'vitest'
import { type CheckpointSource, openCheckpoint, saveCheckpoint } from '../src/index.ts'
import { refusal, startChild, temporaryFolder } from './support.ts'

const SHARDS = [1, 2, 3].map((at) => `model-0000${at}-of-00003.safetensors`)

function version(value: number) {
  return Array.from({ length: 6 }, (_, at) => ({
    ...{ name: `layer.${at}`, dtype: 'U8' as const, shape: [100] },
    data: new Uint8Array(100).fill(value),
  }))
}

/** The values of all tensors, or the error of opening. */
async function look(source: CheckpointSource): Promise<{ values?: number[]; code?: string; message?: string }> {
  try {
    using checkpoint = await openCheckpoint(source)
    return { values: [...new Set([...checkpoint.tensors()].map(({ data }) => Number(data[0])))] }
  } catch (error) {
    const { code, message } = error as { code: string; message: string }
    return { code, message }
  }
}

/** Saves version 2 over a folder in a process that is killed in front of a step; false when there is no such step. */
async function dieAt(step: number, folder: string): Promise<boolean> {
  const { signal, errors } = await startChild('save-dying.mjs', [folder, '2', String(step)]).ended
  expect(errors).toBe('')
  return signal === 'SIGKILL'
}

describe.skipIf(addonFailure !== null)('a save that is killed', () => {
  test.each([
    ['three shards', 200],
    ['one file', 600],
  ])(
    'over %s, before any of its steps, leaves one version or says that it was interrupted',
    async (_, maxShardBytes) => {
      let interrupted = 0
      for (let step = 1; ; step++) {
        const folder = temporaryFolder()
        await saveCheckpoint(folder, version(1), { maxShardBytes })
        if (!(await dieAt(step, folder))) break
        const found = await look(folder)
        const lists = readdirSync(folder).filter((name) => /-of-.*safetensors$/.test(name))
        const listed = lists.length < 2 ? null : await look(lists.sort().map((name) => join(folder, name)))
        for (const { values, code, message } of listed === null ? [found] : [found, listed]) {
          if (values !== undefined) expect(values).toHaveLength(1)
          else {
            expect(code).toBe('SAVE_INTERRUPTED')
            expect(message).toMatch(/An interrupted save left the files of "model" in .* half replaced.*: save again/)
            expect(message).not.toMatch(/list of shards/)
          }
        }
        if (found.values === undefined) interrupted++
        await saveCheckpoint(folder, version(3), { maxShardBytes: 200 })
        expect(await look(folder)).toEqual({ values: [3] })
        expect(readdirSync(folder)).toHaveLength(4)
      }
      expect(interrupted).toBeGreaterThan(0)
    },
  )

  test('twice keeps saying so, and the second keeps what the first needs to be finished by hand', async () => {
    const { folder, suffix } = await halfReplaced()
    expect(await dieAt(1, folder)).toBe(true) // in front of the first file that it would have replaced
    expect(await look(folder)).toMatchObject({ code: 'SAVE_INTERRUPTED' })
    for (const name of readdirSync(folder)
      .filter((name) => name.endsWith(suffix))
      .sort()) {
      renameSync(join(folder, name), join(folder, name.slice(0, -suffix.length)))
    }
    expect(await look(folder)).toEqual({ values: [2] })
  })

  test('counts for its own files alone', async () => {
    const { folder } = await halfReplaced()
    await saveCheckpoint(folder, version(5), { maxShardBytes: 200, variant: 'ema' })
    const ema = readdirSync(folder).filter((name) => /^model\.ema-/.test(name))
    expect(await look(ema.map((name) => join(folder, name)))).toEqual({ values: [5] })
    expect(await look(join(folder, SHARDS[1]!))).toMatchObject({ values: [expect.any(Number)] })
    expect(await look(SHARDS.map((name) => join(folder, name)))).toMatchObject({ code: 'SAVE_INTERRUPTED' })
    expect(await look(join(folder, 'model.safetensors.index.json'))).toMatchObject({ code: 'SAVE_INTERRUPTED' })
    const elsewhere = join(folder, 'elsewhere')
    mkdirSync(elsewhere)
    for (const name of SHARDS) copyFileSync(join(folder, name), join(elsewhere, name))
    expect(await look(elsewhere)).toMatchObject({ code: 'SOURCE_AMBIGUOUS' })
  })

  /** A folder of version 1 in which version 2 has replaced a shard and no more. */
  async function halfReplaced(): Promise<{ folder: string; suffix: string }> {
    for (let step = 1; ; step++) {
      const folder = temporaryFolder()
      await saveCheckpoint(folder, version(1), { maxShardBytes: 200 })
      expect(await dieAt(step, folder)).toBe(true)
      const temporary = readdirSync(folder).filter((name) => name.endsWith('.tmp'))
      const shards = temporary.filter((name) => name.startsWith('model-')).length
      const index = readdirSync(folder).includes('model.safetensors.index.json')
      if (!index && shards === 2) return { folder, suffix: temporary[0]!.slice(-41) }
    }
  }
})

describe('openCheckpoint() of a list of shards that are replaced meanwhile', () => {
  test('is refused instead of giving a mixture', async () => {
    const folder = temporaryFolder()
    await saveCheckpoint(folder, version(1), { maxShardBytes: 200 })
    await saveCheckpoint(join(folder, 'new'), version(2), { maxShardBytes: 200 })
    const abort = new AbortController()
    // Behind the opening of the files, which a progress report of sealed backing is.
    const onProgress = (): void => {
      if (readdirSync(join(folder, 'new')).includes(SHARDS[0]!)) {
        renameSync(join(folder, 'new', SHARDS[0]!), join(folder, SHARDS[0]!))
      }
    }
    const list = SHARDS.map((name) => join(folder, name))
    const error = await refusal(openCheckpoint(list, { backing: 'heap', onProgress, signal: abort.signal }))
    expect(error).toMatchObject({ code: 'CHECKPOINT_CHANGED', path: list[0] })
  })
})
