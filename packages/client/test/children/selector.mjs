// @ts-nocheck
// A process that attaches parts of a checkpoint: selector.mjs <socket> <checkpoint>.
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { attach } from '@onecopy/client'
import { mappingCount } from '@onecopy/sharedarraybuffer-utils'
import { answer } from './answer.mjs'

const [socket, name] = process.argv.slice(2)
let checkpoint

/** sha256 of each tensor, by name. */
const read = () => {
  const hash = ({ data }) => createHash('sha256').update(data).digest('hex')
  return Object.fromEntries([...checkpoint.tensors()].map((tensor) => [tensor.name, hash(tensor)]))
}

answer({
  attach: async (selection) => {
    checkpoint = await attach({ socket, checkpoint: name, selection })
    return read()
  },
  read,
  version: () => checkpoint.version,
  close: () => checkpoint.close(),
  follow: async () => {
    const next = await checkpoint.followLatest()
    if (next === checkpoint) return false
    checkpoint.close()
    checkpoint = next
    return true
  },
  /** Inodes of the arenas that are mapped: what tells one piece of memory from another, in all processes. */
  arenas: () => {
    const lines = readFileSync('/proc/self/maps', 'utf8').split('\n')
    const inodes = lines.filter((line) => line.includes('memfd:onecopy:arena')).map((line) => line.split(/ +/)[4])
    return [...new Set(inodes)]
  },
  count: () => {
    gc()
    return { descriptors: readdirSync('/proc/self/fd').length, mappings: mappingCount() }
  },
})
