import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, it } from 'vitest'
import { memoryLimit } from '../src/memory-limit.ts'
import { temporaryFolder } from './support.ts'

const MIB = 2 ** 20
const GIB = 2 ** 30

/** A machine of 8 GiB, 6 of them available, with more files. */
function machine(files: Record<string, string>) {
  const folder = temporaryFolder()
  const all = { 'proc/meminfo': `MemTotal: ${8 * MIB} kB\nMemAvailable: ${6 * MIB} kB\n`, ...files }
  for (const [name, text] of Object.entries(all)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), text)
  }
  return { limit: () => memoryLimit(join(folder, 'proc'), join(folder, 'groups')), folder }
}

it('is the memory of the machine less 5 %, where no control group says less', () => {
  const { limit } = machine({ 'proc/self/cgroup': '0::/a\n', 'groups/a/memory.max': 'max\n' })
  const margin = Math.round(0.05 * 8 * GIB)
  expect(limit()).toMatchObject({ byteLength: 8 * GIB - margin, from: "the machine's memory" })
  expect(limit()!.available()).toBe(6 * GIB - margin)
})

it('is the least of what the groups of version 2 allow, however deep, with files in the page cache counted as free', () => {
  const { limit, folder } = machine({
    'proc/self/cgroup': '0::/system/app.slice/x.service\n',
    'groups/system/app.slice/x.service/memory.max': 'max\n',
    'groups/system/app.slice/memory.max': `${GIB}\n`,
    'groups/system/app.slice/memory.current': `${900 * MIB}\n`,
    'groups/system/app.slice/memory.stat': `anon 5\nactive_file ${100 * MIB}\ninactive_file ${200 * MIB}\n`,
    'groups/system/memory.max': `${2 * GIB}\n`,
  })
  const at = join(folder, 'groups/system/app.slice')
  expect(limit()).toMatchObject({ byteLength: GIB - 128 * MIB, from: `memory.max of ${at}` })
  expect(limit()!.available()).toBe((1024 - 900 + 300 - 128) * MIB)
  writeFileSync(join(at, 'memory.current'), `${1000 * MIB}\n`)
  expect(limit()!.available()).toBe((1024 - 1000 + 300 - 128) * MIB)
})

it('is what a group of version 1 allows, also seen from a container that cannot see the path of its group', () => {
  const { limit, folder } = machine({
    'proc/self/cgroup': '5:cpu,memory:/docker/0123\n0::/\n',
    'groups/memory/memory.limit_in_bytes': `${512 * MIB}\n`,
    'groups/memory/memory.usage_in_bytes': `${100 * MIB}\n`,
    'groups/memory/memory.stat': `total_inactive_file ${10 * MIB}\ntotal_active_file 0\n`,
  })
  const from = `memory.limit_in_bytes of ${join(folder, 'groups/memory/')}`
  expect(limit()).toMatchObject({ byteLength: (512 - 128) * MIB, from })
  expect(limit()!.available()).toBe((512 - 100 + 10 - 128) * MIB)
})

it('is none that says so with a number near 2^63, and unknown where nothing can be read', () => {
  const { limit } = machine({
    'proc/self/cgroup': '5:memory:/\n',
    'groups/memory/memory.limit_in_bytes': '9223372036854771712\n',
  })
  expect(limit()).toMatchObject({ from: "the machine's memory" })
  expect(memoryLimit('/none', '/none')).toBe(null)
})
