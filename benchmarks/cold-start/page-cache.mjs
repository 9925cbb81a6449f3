// @ts-check
import { closeSync, fsyncSync, openSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { openCheckpoint } from 'onecopy'
import { runTrial } from '../harness/trial.mjs'

/** The kernel may hold pages back for a moment, such as those that a process that has just ended had mapped. */
const ATTEMPTS = 10
const PAUSE_MS = 50

/** A trial would have started from another state than its figure says, or ended in another; the message says which. */
export class WrongState extends Error {
  /** @override */
  name = 'WrongState'
}

/** @param {string} folder @returns {string[]} paths of the shards, in order */
export function shardPaths(folder) {
  const names = readdirSync(folder).filter((name) => name.endsWith('.safetensors'))
  return names.sort().map((name) => join(folder, name))
}

/** What of a checkpoint is in RAM: drops it, brings it back, and asks mincore whether that is so. */
export class PageCache {
  #checkpoint

  /** @param {import('onecopy').Checkpoint} checkpoint open with file backing, and never read through */
  constructor(checkpoint) {
    this.#checkpoint = checkpoint
  }

  /** @param {string} folder of a checkpoint that was written by this process */
  static async of(folder) {
    for (const path of shardPaths(folder)) flush(path)
    return new PageCache(await openCheckpoint(folder, { backing: 'file' }))
  }

  /**
   * Drops the checkpoint from RAM.
   *
   * @throws {WrongState} when not all of it went, or the kernel does not tell
   */
  async evict() {
    await evictUntilGone(() => this.#checkpoint.evict().residentBytes)
  }

  /** @throws {WrongState} when it is not in RAM as a whole */
  async warm() {
    const { residentBytes, byteLength } = this.#checkpoint.residency()
    if (residentBytes === byteLength) return
    await this.#checkpoint.prefetch()
    assertResident(this.#checkpoint.residency().residentBytes, byteLength)
  }

  close() {
    this.#checkpoint.close()
  }
}

/**
 * Drops files that are no checkpoint from RAM.
 *
 * @param {string} reader path of `rivals/read_files.c`, compiled
 * @param {string} path
 * @throws {WrongState}
 */
export async function evictFile(reader, path) {
  await evictUntilGone(async () => {
    const { report } = await runTrial(reader, ['evict', '1', '0', path])
    return Number(report['residentBytes'])
  })
}

/**
 * @param {number | null} residentBytes
 * @param {number} byteLength
 */
export function assertResident(residentBytes, byteLength) {
  if (residentBytes === byteLength) return
  throw new WrongState(`${residentBytes ?? 'an unknown number'} of ${byteLength} bytes were in RAM at the end`)
}

/** @param {() => number | null | Promise<number | null>} evict gives the bytes that are still in RAM */
async function evictUntilGone(evict) {
  let left = await evict()
  for (let attempt = 1; left !== 0 && left !== null && attempt < ATTEMPTS; attempt++) {
    await sleep(PAUSE_MS)
    left = await evict()
  }
  if (left === null) throw new WrongState('the kernel does not tell what of the files is in RAM')
  if (left > 0) throw new WrongState(`${left} bytes stayed in RAM after POSIX_FADV_DONTNEED`)
}

/** Pages that are not on the disk yet cannot be dropped. */
/** @param {string} path */
function flush(path) {
  const descriptor = openSync(path, 'r+')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}
