// @ts-check
// examples/swap-server as it stands, which prints its address and ends with SIGTERM; here it says so in JSON, and ends with
// its input.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { serve } from './answer.mjs'

const { socket, checkpoint } = JSON.parse(process.argv[2] ?? '{}')
const server = fileURLToPath(new URL('../../examples/swap-server/server.mjs', import.meta.url))
const service = spawn(process.execPath, [server], {
  env: { ...process.env, ONECOPY_SOCKET: socket, ONECOPY_CHECKPOINT: checkpoint, PORT: '0' },
  stdio: ['ignore', 'pipe', 'inherit'],
})
process.on('exit', () => service.kill('SIGKILL'))
const [line] = /** @type {[string]} */ (await once(createInterface({ input: service.stdout }), 'line'))
await serve({ url: line.slice(line.indexOf('http://')) })
