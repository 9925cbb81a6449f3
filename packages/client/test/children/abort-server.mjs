// @ts-nocheck
// A server whose requests are tasks, and clients that hang up at every moment: abort-server.mjs <checkpoint> <requests> <seed>.
// Says what became of the requests and leaves; without a listener for errors, so that one would end the process.
import { once } from 'node:events'
import { createServer, get } from 'node:http'
import { openCheckpoint } from '@onecopy/checkpoint'
import { createWorkerPool } from '@onecopy/client'

const [folder, requests, seed] = process.argv.slice(2)
const checkpoint = await openCheckpoint(folder)
const filename = new URL('../tasks/requires-esm.cjs', import.meta.url)
const pool = await createWorkerPool({ checkpoint, filename, minThreads: 0, maxThreads: 2 })

let aborted = 0
const server = createServer(async (request, response) => {
  const controller = new AbortController()
  response.on('close', () => controller.abort())
  try {
    response.end(await pool.run(request.url, { signal: controller.signal }))
  } catch (error) {
    if (error.name !== 'AbortError') throw error
    aborted++
  }
}).listen(0)
await once(server, 'listening')
const { port } = server.address()

/** xorshift32. */
let state = Number(seed) || 1
const random = () => {
  state ^= state << 13
  state ^= state >>> 17
  state ^= state << 5
  return (state >>> 0) / 2 ** 32
}

let answered = 0
let hungUp = 0
async function ask(path) {
  const request = get({ port, path, agent: false })
  // Most hang up within what a task takes, some while a thread starts, some never.
  const patience = [random() * 2, random() * 2, random() * 100, null][Math.floor(random() * 4)]
  const timer = patience === null ? null : setTimeout(() => request.destroy(), patience)
  try {
    const [response] = await once(request, 'response')
    for await (const _ of response);
    answered++
  } catch {
    hungUp++
  }
  clearTimeout(timer)
}

const LANES = 8
let next = 0
const lane = async () => {
  while (next < Number(requests)) await ask(`/${next++}`)
}
await Promise.all(Array.from({ length: LANES }, lane))
const last = await pool.run('/last')
await pool.close()
server.close()
checkpoint.close()
console.log(
  JSON.stringify({ sum: answered + hungUp, last: last.length, some: [answered, hungUp, aborted].every((n) => n > 0) }),
)
