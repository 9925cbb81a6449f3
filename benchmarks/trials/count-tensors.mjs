// @ts-check
import { weights } from 'onecopy/worker'

/** A task of a pool's thread. */
export default function countTensors() {
  return weights().tensorCount
}
