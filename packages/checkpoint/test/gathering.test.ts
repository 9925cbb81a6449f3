import type { Worker } from 'node:worker_threads'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Checkpoint, openCheckpoint } from '../src/index.ts'
import {
  expectNothingLeft,
  expectNothingOpen,
  fileOf,
  mappingsIn,
  refusal,
  temporaryFolder,
  tensor,
  write,
} from './support.ts'

const RAWS = [tensor('a', 'BF16', [16, 16]), tensor('b', 'F32', [8, 16])]
const columns = (start: number, stop: number) => ({
  tensors: [
    {
      name: 'a',
      ranges: [
        [0, 16],
        [start, stop],
      ] as const,
    },
  ],
})
const asText = (selection: object): string => JSON.stringify(selection)

/** The threads that are started until the test ends. */
function startedThreads(): Worker[] {
  const started: Worker[] = []
  const listen = (thread: Worker): void => void started.push(thread)
  process.on('worker', listen)
  onTestFinished(() => void process.off('worker', listen))
  return started
}

async function open(): Promise<{ checkpoint: Checkpoint; folder: string }> {
  const folder = temporaryFolder()
  const checkpoint = await openCheckpoint(write(folder, 'x.safetensors', fileOf(RAWS)), { backing: 'sealed' })
  onTestFinished(() => checkpoint.close())
  return { checkpoint, folder }
}

const ended = (thread: Worker): Promise<unknown> => new Promise((resolve) => thread.once('exit', resolve))

describe('Checkpoint.holdArenas() with a text', () => {
  test('gathers in one thread, what is missing only, and finds what was gathered here', async () => {
    const started = startedThreads()
    const { checkpoint, folder } = await open()
    const here = await checkpoint.holdArenas(columns(0, 4))
    expect(started).toEqual([])
    const reserved: number[] = []
    const reserve = (byteLength: number): (() => void) => {
      reserved.push(byteLength)
      return () => void reserved.push(-byteLength)
    }
    const same = await checkpoint.holdArenas(asText(columns(0, 4)), { reserve })
    expect([same.arenas, reserved]).toEqual([here.arenas, []])
    const other = await checkpoint.holdArenas(asText(columns(3, 9)), { reserve })
    expect(reserved).toEqual([16 * 6 * 2, -16 * 6 * 2])
    const again = await checkpoint.holdArenas(columns(3, 9))
    expect(again.arenas).toEqual(other.arenas)
    expect(started).toHaveLength(1)
    const exit = ended(started[0]!)
    for (const hold of [here, same, other, again]) hold.release()
    expect(checkpoint.arenaBytes).toBe(0)
    checkpoint.close()
    await exit
    await expectNothingLeft(folder)
  })

  test.each([
    ['no JSON', '{', { name: 'SyntaxError' }],
    ['another name', asText({ tensors: [{ name: 'x' }] }), { code: 'SAFETENSORS_INVALID_SELECTION', tensor: 'x' }],
    ['a wrong slice', asText(columns(3, 99)), { code: 'SAFETENSORS_INVALID_SLICE', tensor: 'a' }],
    ['another layout', asText({ tensors: [], layout: '0'.repeat(64) }), { code: 'SELECTION_OTHER_CHECKPOINT' }],
  ])('says what is wrong with %s, and goes on', async (_, text, expected) => {
    const { checkpoint } = await open()
    expect(await refusal(checkpoint.holdArenas(text))).toMatchObject(expected)
    expect((await checkpoint.holdArenas(asText(columns(0, 4)))).arenas).toHaveLength(1)
  })

  test('rejects with what reserve() throws, and with the reason of its signal', async () => {
    const { checkpoint, folder } = await open()
    const full = new RangeError('full')
    const reserve = (): never => {
      throw full
    }
    await expect(checkpoint.holdArenas(asText(columns(0, 4)), { reserve })).rejects.toBe(full)
    const stop = new AbortController()
    const stopping = (): (() => void) => {
      stop.abort(full)
      return () => {}
    }
    const options = { reserve: stopping, signal: stop.signal }
    await expect(checkpoint.holdArenas(asText(columns(0, 4)), options)).rejects.toBe(full)
    expect([checkpoint.arenaBytes, mappingsIn(folder).length]).toEqual([0, 1])
    expect((await checkpoint.holdArenas(asText(columns(0, 4)))).arenas).toHaveLength(1)
  })

  test('ends with the checkpoint', async () => {
    const started = startedThreads()
    const { checkpoint, folder } = await open()
    const closing = (): (() => void) => {
      checkpoint.close()
      return () => {}
    }
    const error = await refusal(checkpoint.holdArenas(asText(columns(0, 4)), { reserve: closing }))
    expect(error).toMatchObject({ code: 'CHECKPOINT_CLOSED' })
    await ended(started[0]!)
    await expectNothingLeft(folder)
    expectNothingOpen(folder)
  })

  test('says so when the thread ends, and starts another', async () => {
    const { checkpoint } = await open()
    process.once('worker', (thread: Worker) => void thread.terminate())
    const error = await refusal(checkpoint.holdArenas(asText(columns(0, 4))))
    expect(error.message).toMatch(/cannot be gathered in a thread: it ended early, with exit code \d/)
    expect((await checkpoint.holdArenas(asText(columns(0, 4)))).arenas).toHaveLength(1)
  })
})
