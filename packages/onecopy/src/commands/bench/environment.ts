import { readFileSync, realpathSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { availableMemory } from './available-memory.ts'
import { systemText } from './system-text.ts'

/** What the figures were measured on. */
export interface Environment {
  readonly onecopy: string
  readonly node: string
  readonly platform: string
  readonly kernel: string
  readonly cpu: string
  readonly cores: number
  readonly memoryBytes: number
  readonly availableMemoryBytes: number
  /** What the checkpoint lies on, such as `ext4`. */
  readonly fileSystem: string
  /** What the kernel is set to; null where it does not say. */
  readonly transparentHugePages: string | null
  /** Of the minute before; far above 0 is a busy machine. */
  readonly loadAverage: number
}

/** @param path a file of the checkpoint */
export function describeEnvironment(path: string): Environment {
  const processors = cpus()
  const ownPackage = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'))
  const hugePages = systemText('/sys/kernel/mm/transparent_hugepage/enabled')
  return {
    onecopy: ownPackage.version,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    kernel: release(),
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryBytes: totalmem(),
    availableMemoryBytes: availableMemory(),
    fileSystem: fileSystemOf(path),
    transparentHugePages: /\[(\w+)\]/.exec(hugePages)?.[1] ?? null,
    loadAverage: loadavg()[0]!,
  }
}

/** The type of the file system that a file lies on, from the mount whose folder is the longest above it. */
export function fileSystemOf(path: string, mountinfo: string = systemText('/proc/self/mountinfo')): string {
  const real = `${realpathSync(path)}/`
  let longest = -1
  let type = 'unknown'
  for (const line of mountinfo.split('\n')) {
    const match = /^\S+ \S+ \S+ \S+ (\S+) .*? - (\S+) /.exec(line)
    if (match === null) continue
    const folder = match[1]!.replace(/\\(\d{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)))
    const above = folder.endsWith('/') ? folder : `${folder}/`
    // Of two mounts at one place, the later one covers the other.
    if (!real.startsWith(above) || above.length < longest) continue
    longest = above.length
    type = match[2]!
  }
  return type
}
