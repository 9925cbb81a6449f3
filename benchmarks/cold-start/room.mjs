// @ts-check
import { readFileSync, statfsSync } from 'node:fs'
import { freemem } from 'node:os'

/** What is left to others, in bytes. */
const SPARED_MEMORY_BYTES = 10 ** 9
const SPARED_DISK_BYTES = 2 * 10 ** 9

/**
 * How large a checkpoint can be read with nothing pushed out of RAM, at most as large as wanted.
 *
 * @param {{ wantedBytes: number, leastBytes: number, copies: number, memoryBytes: number, diskBytes: number }} room
 * copies: how often it lies in RAM, and how often on the disk, when most of it does
 * @returns {{ byteLength: number, reason: string | null }} reason: why it is less than wanted
 * @throws {Error} when there is not even room for the least
 */
export function chooseBytes({ wantedBytes, leastBytes, copies, memoryBytes, diskBytes }) {
  const byMemory = Math.floor((memoryBytes - SPARED_MEMORY_BYTES) / copies)
  const byDisk = Math.floor((diskBytes - SPARED_DISK_BYTES) / copies)
  const byteLength = Math.min(wantedBytes, byMemory, byDisk)
  const found = `${memoryBytes} bytes of memory and ${diskBytes} bytes of disk are free`
  if (byteLength < leastBytes) {
    const memory = leastBytes * copies + SPARED_MEMORY_BYTES
    const disk = leastBytes * copies + SPARED_DISK_BYTES
    throw new Error(`Cannot measure a cold start: ${found}, required are ${memory} and ${disk}`)
  }
  return { byteLength, reason: byteLength < wantedBytes ? found : null }
}

/** Bytes that a process can take without pushing others out: free memory and what the page cache gives back. */
export function freeMemoryBytes() {
  try {
    const kib = /^MemAvailable: +(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]
    if (kib !== undefined) return Number(kib) * 1024
  } catch {
    // Not Linux.
  }
  return freemem()
}

/** @param {string} folder */
export function freeDiskBytes(folder) {
  const { bavail, bsize } = statfsSync(folder)
  return bavail * bsize
}
