import { adoptFileMapping, HeapCopy } from '@onecopy/sharedarraybuffer-utils/mapped'
import type { ShardMemory, ShardMemoryShare } from './shard-memory.ts'

/** The same memory in another thread of the process. */
export function adoptMemory(share: ShardMemoryShare): ShardMemory {
  return share.backing === 'heap' ? new HeapCopy(share.path, share.byteLength, share.parts) : adoptFileMapping(share)
}
