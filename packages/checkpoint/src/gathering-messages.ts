import type { FileMappingShare } from '@onecopy/sharedarraybuffer-utils'
import type { ShardMemoryShare } from './shard-memory.ts'
import type { PackedError } from './strict-messages.ts'

/** What a gathering thread starts with: a checkpoint, which stays open as long as the thread is told nothing else. */
export interface GatheringData {
  readonly label: string
  readonly directory: SharedArrayBuffer
  readonly shards: readonly ShardMemoryShare[]
}

/** What it is told, one question at a time. */
export type GatheringQuestion =
  | {
      readonly type: 'find'
      /** As JSON. */
      readonly selection: string
      /** All arenas that there are; they stay open until the answer has come. */
      readonly arenas: readonly FileMappingShare[]
    }
  /** Whether the memory may be taken that it has asked for. */
  | { readonly type: 'reserved'; readonly granted: boolean }
  /** Nobody wants what is being gathered. */
  | { readonly type: 'abort' }
  /** What was made has a holder of its own. */
  | { readonly type: 'taken' }
  | { readonly type: 'end' }

/** What it says. */
export type GatheringAnswer =
  | { readonly type: 'reserve'; readonly byteLength: number }
  | {
      readonly type: 'found'
      /** Places in the question's arenas. */
      readonly used: readonly number[]
      readonly made: FileMappingShare | null
    }
  | { readonly type: 'failed'; readonly error: PackedError }
