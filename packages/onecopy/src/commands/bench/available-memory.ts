import { freemem } from 'node:os'
import { dirname, join } from 'node:path'
import { formatBytes } from '../../terminal/units.ts'
import { systemText } from './system-text.ts'

/** What is left to everybody else, and to the measuring processes beside the weights. */
const SPARE_BYTES = 512 * 2 ** 20

const CONTROL_GROUPS = '/sys/fs/cgroup'

/** Bytes that can be taken without pushing others out: free ones and the page cache, within this control group's limits. */
export function availableMemory(): number {
  const system = /^MemAvailable: +(\d+) kB$/m.exec(systemText('/proc/meminfo'))?.[1]
  const available = system === undefined ? freemem() : Number(system) * 1024
  return Math.max(0, Math.min(available, ...controlGroups()))
}

/** Why this many bytes had better not be taken now; null when they may. */
export function tooLittleMemory(neededBytes: number): string | null {
  const available = availableMemory()
  if (neededBytes + SPARE_BYTES <= available) return null
  const needed = `${formatBytes(neededBytes)} and ${formatBytes(SPARE_BYTES)} to spare`
  return `it takes ${needed}, and ${formatBytes(available)} of memory are available; --limit benches a part`
}

/** What each control group above this process still allows (version 2). */
function controlGroups(): number[] {
  const path = /^0::(.*)$/m.exec(systemText('/proc/self/cgroup'))?.[1]
  if (path === undefined) return []
  const left: number[] = []
  for (let folder = join(CONTROL_GROUPS, path); folder.startsWith(CONTROL_GROUPS); folder = dirname(folder)) {
    const limit = Number.parseInt(systemText(join(folder, 'memory.max')), 10)
    const used = Number.parseInt(systemText(join(folder, 'memory.current')), 10)
    if (Number.isNaN(limit) || Number.isNaN(used)) continue // there is none
    let reclaimable = 0
    for (const [, bytes] of systemText(join(folder, 'memory.stat')).matchAll(/^(?:in)?active_file (\d+)$/gm)) {
      reclaimable += Number(bytes)
    }
    left.push(limit - used + reclaimable)
  }
  return left
}
