// @ts-nocheck
// A process that attaches a checkpoint and reads it: reader.mjs <socket> <checkpoint>.
import { createHash } from 'node:crypto'
import { attach } from '@onecopy/client'
import { answer } from './answer.mjs'

const [socket, name] = process.argv.slice(2)
let checkpoint = await attach({ socket, checkpoint: name })
let reads = 0
const versions = []
checkpoint.on('version', ({ version }) => versions.push(version))

const read = () => {
  const hash = createHash('sha256')
  for (const { data } of checkpoint.tensors()) hash.update(data)
  reads++
  return hash.digest('hex')
}
setInterval(read, 5)

answer({
  read,
  reads: () => reads,
  version: () => checkpoint.version,
  versions: () => versions,
  close: () => checkpoint.close(),
  follow: async () => {
    const next = await checkpoint.followLatest()
    if (next === checkpoint) return false
    checkpoint.close()
    checkpoint = next
    return true
  },
})
