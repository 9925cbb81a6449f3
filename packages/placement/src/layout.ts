import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js'
import { checkArgument, layoutText, type Rule, type TensorIndex } from '@onecopy/safetensors'

/** What an argument is that has to be an index. */
export const INDEX_RULE: Rule = {
  must: 'the index of a checkpoint, with its shards and tensors',
  isKind: (value) => {
    const { shards, tensors } = (value ?? {}) as Partial<TensorIndex>
    return Array.isArray(shards) && Array.isArray(tensors)
  },
}

/**
 * Which checkpoint a plan is for: sha256 of `layoutText`, in hex. The same for every copy of a checkpoint, and another one as
 * soon as a shard or tensor has another name, size or place.
 */
export function layoutOf(index: TensorIndex): string {
  checkArgument('The index of layoutOf()', index, INDEX_RULE)
  return bytesToHex(sha256(utf8ToBytes(layoutText(index))))
}
