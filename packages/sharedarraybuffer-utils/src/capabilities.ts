import { addon, addonFailure, addonPath } from './addon.ts'

/** What this machine can do, and why not more. */
export interface Capabilities {
  readonly platform: string
  readonly arch: string
  readonly nodeAbi: string
  /** The backings that checkpoints can have here, best first. */
  readonly backings: readonly ('file' | 'heap')[]
  readonly addonPath: string
  /** MADV_POPULATE_READ (Linux 5.14): the fast way to bring files into RAM. */
  readonly populateRead: boolean
  /** memfd with seals (Linux 3.17): memory that nobody can change any more. */
  readonly sealing: boolean
  /** Bytes of a memory page; null without the addon. */
  readonly pageBytes: number | null
  /** Bytes that this process may lock in RAM without CAP_IPC_LOCK; null is no limit (or not known: see `missing`). */
  readonly lockLimitBytes: number | null
  /** One sentence for each thing that this machine cannot do, with what would mend it. */
  readonly missing: readonly string[]
}

/** What this machine can do, and why not more. Cheap: asks the kernel, touches no file. */
export function capabilities(): Capabilities {
  const limits = addon?.memoryLimits()
  const missing: string[] = []
  if (addonFailure !== null) {
    missing.push(`No memory mapping (checkpoints are read into this process instead): ${addonFailure}`)
  }
  if (limits?.populateRead === false) {
    missing.push('No MADV_POPULATE_READ (needs Linux 5.14): files are brought into RAM by plain reads, which is slower')
  }
  if (limits?.sealing === false) missing.push('No sealed memory: memfd_create is not allowed here')
  return {
    platform: process.platform,
    arch: process.arch,
    nodeAbi: process.versions.modules,
    backings: addon === null ? ['heap'] : ['file', 'heap'],
    addonPath,
    populateRead: limits?.populateRead ?? false,
    sealing: limits?.sealing ?? false,
    pageBytes: limits?.pageBytes ?? null,
    lockLimitBytes: limits?.lockLimitBytes ?? null,
    missing,
  }
}
