import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js'
import { layoutText, type TensorIndex } from '@onecopy/safetensors'

/**
 * Which checkpoint a plan is for: sha256 of `layoutText`, in hex. The same for every copy of a checkpoint, and another one as
 * soon as a shard or tensor has another name, size or place.
 */
export function layoutOf(index: TensorIndex): string {
  return bytesToHex(sha256(utf8ToBytes(layoutText(index))))
}
