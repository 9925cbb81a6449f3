import type { Selection } from '@onecopy/checkpoint'
import { MAX_SELECTION_BYTES } from '@onecopy/protocol'

/**
 * A selection as it goes to a coordinator, which ends the connection of a client that sends too much, and with it every lease of
 * this process.
 * @throws TypeError for what is no data; RangeError for what is too long
 */
export function selectionText(selection: Selection): string {
  const text: string | undefined = JSON.stringify(selection)
  if (text === undefined) throw new TypeError('A selection must be an object with an array of tensors')
  const byteLength = Buffer.byteLength(text)
  if (byteLength <= MAX_SELECTION_BYTES) return text
  throw new RangeError(`The selection has ${byteLength} bytes as JSON; at most ${MAX_SELECTION_BYTES} can be sent`)
}
