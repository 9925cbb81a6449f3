import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { expect, onTestFinished, test } from 'vitest'
import { openCheckpoint } from '../src/index.ts'
import { picked } from './selections.ts'
import { fileOf, temporaryFolder, tensor, write } from './support.ts'

const RAW = tensor('a', 'F32', [8, 16])
const RANGES = [
  [0, 8],
  [4, 12],
] as const

test('a thread that has only adopted a checkpoint loads what selecting needs with its first selection', async () => {
  const checkpoint = await openCheckpoint(write(temporaryFolder(), 'x.safetensors', fileOf([RAW])))
  onTestFinished(() => checkpoint.close())
  const selection = { tensors: [{ name: 'a', ranges: RANGES }] }
  const worker = new Worker(new URL('./children/selecting-worker.mjs', import.meta.url), {
    workerData: { share: checkpoint.share(), selection },
  })
  const [report] = await once(worker, 'message')
  await once(worker, 'exit')
  expect(report.tooEarly).toMatchObject({ name: 'TypeError', message: expect.stringContaining('loadSelecting()') })
  expect(report.arenaBytes).toBe(0)
  expect(report.closed).toMatchObject({ name: 'CheckpointError', code: 'CHECKPOINT_CLOSED' })
  expect(report.bytes).toEqual([[...picked(RAW, RANGES)]])
  expect(report.shared).toBeGreaterThanOrEqual(8 * 8 * 4)
  expect(report.shared).toBeLessThan(2 * 8 * 8 * 4)
  expect([report.left, report.nothing]).toEqual([0, 0])
})
