import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { weights } from '@onecopy/client/worker'
import { expect, it } from 'vitest'

it('weights() throws WEIGHTS_UNAVAILABLE outside a pool', async () => {
  expect(() => weights()).toThrow(expect.objectContaining({ code: 'WEIGHTS_UNAVAILABLE' }))
  const worker = new Worker(new URL('./tasks/outside.mjs', import.meta.url))
  const [message] = await once(worker, 'message')
  expect(message).toMatchObject({ code: 'WEIGHTS_UNAVAILABLE' })
  expect(message.message).toMatch(/thread \d+, which no onecopy pool started/)
})
