// @ts-check
// Many clients in one process: attaches as often as it is asked to, over a connection each, and answers with their number.
// A process has one connection for each path of a socket, so every client comes by a path of its own.
import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { attach } from 'onecopy'
import { serve } from './answer.mjs'

const { socket, folder, checkpoint } = JSON.parse(process.argv[2] ?? '{}')
/** @type {import('onecopy').Checkpoint[]} */
const attached = []

await serve(null, async (/** @type {number} */ clients) => {
  while (attached.length < clients) {
    const path = join(folder, `${attached.length}.sock`)
    symlinkSync(socket, path)
    attached.push(await attach({ socket: path, checkpoint }))
  }
  return attached.length
})
