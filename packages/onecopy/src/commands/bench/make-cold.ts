import { readdirSync, realpathSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import { evict, mapFile } from '@onecopy/sharedarraybuffer-utils'
import { errorCode } from '../../terminal/error-message.ts'
import { formatBytes } from '../../terminal/units.ts'
import { fileSystemOf } from './environment.ts'
import type { Subject } from './subject.ts'
import { systemText } from './system-text.ts'

/** Of a checkpoint's bytes, what may be left in RAM for a start to count as cold. */
const COLD_SHARE = 0.005

/** Pages of a process that has just ended may be on their way out still. */
const ATTEMPTS = 5
const BETWEEN_ATTEMPTS_MS = 100

/** File systems whose files are in RAM by nature. */
const MEMORY_FILE_SYSTEMS = ['tmpfs', 'ramfs', 'hugetlbfs']

/** What is left in RAM, or why the checkpoint cannot be brought out of it. */
export type Coldness = { readonly residentBytes: number } | { readonly reason: string }

/** Puts what was written lately on the disk: dirty pages cannot be evicted. */
export async function writeBack({ shards }: Subject): Promise<void> {
  for (const { path } of shards) {
    const file = await open(path)
    // Read-only file systems have nothing to write back, and some refuse.
    await file.datasync().catch(() => {})
    await file.close()
  }
}

/** Drops the checkpoint from the page cache, and asks mincore what came of it. */
export async function makeCold(subject: Subject): Promise<Coldness> {
  const { checkpoint, shards } = subject
  const fileSystem = fileSystemOf(shards[0]!.path)
  if (MEMORY_FILE_SYSTEMS.includes(fileSystem)) {
    return { reason: `its files lie on ${fileSystem}, which is RAM itself, so there is no cold start` }
  }
  try {
    let left = 0
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (attempt > 0) await setTimeout(BETWEEN_ATTEMPTS_MS)
      evictIndex(checkpoint.label)
      const { residentBytes, byteLength } = checkpoint.evict()
      if (residentBytes === null) {
        const reason = 'the kernel tells only the owner of the files, and those who may write to them, what is in RAM'
        return { reason }
      }
      if (residentBytes <= byteLength * COLD_SHARE) return { residentBytes }
      left = residentBytes
    }
    const of = `${formatBytes(left)} of ${formatBytes(checkpoint.byteLength)}`
    return { reason: `${of} cannot be evicted from the page cache${holdersText(subject)}` }
  } catch (error) {
    const code = errorCode(error)
    if (code === null) throw error
    return { reason: `${(error as Error).message} (${code})` }
  }
}

/** A shard index is read on opening, as the headers are. */
function evictIndex(label: string): void {
  if (!label.endsWith('.json')) return
  using mapping = mapFile(label)
  evict(mapping)
}

/** Who keeps them there, as far as this user may see. */
function holdersText({ shards }: Subject): string {
  const paths = shards.map(({ path }) => realpathSync(path))
  const others = readdirSync('/proc').filter((entry) => /^\d+$/.test(entry) && Number(entry) !== process.pid)
  const holders = others.filter((pid) => {
    const maps = systemText(`/proc/${pid}/maps`)
    return paths.some((path) => maps.includes(` ${path}\n`))
  })
  if (holders.length === 0) return ': another process may have it mapped or locked'
  const names = holders.slice(0, 3).map((pid) => `${pid} (${systemText(`/proc/${pid}/comm`).trim()})`)
  const more = holders.length > names.length ? ` and ${holders.length - names.length} more` : ''
  const noun = holders.length === 1 ? 'process' : 'processes'
  return `: mapped by ${noun} ${names.join(', ')}${more}`
}
