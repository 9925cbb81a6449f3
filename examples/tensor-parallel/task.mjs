// Runs in the workers' threads: the same code as for a whole checkpoint, on this worker's part of it.
import { weights } from 'onecopy/worker'
import { mlp } from './mlp.mjs'

export default function run({ layer, x }) {
  return mlp(weights(), layer, x)
}
