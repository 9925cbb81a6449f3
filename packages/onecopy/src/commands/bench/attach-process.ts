import { writeSync } from 'node:fs'
import { begunNs } from './program.ts'

/** What a process that attaches prints. */
export interface AttachTrial {
  readonly begunNs: string
  readonly loadMs: number
  readonly attachMs: number
  /** When it had looked a tensor up, on the clock of all processes. */
  readonly atNs: string
}

const begun = performance.now()
const { attach } = await import('../../index.ts')
const loaded = performance.now()
// The socket and the name come from the environment, as `onecopy run` sets them.
const checkpoint = await attach()
const attached = performance.now()
checkpoint.tensor(checkpoint.names.at(-1)!)
const atNs = process.hrtime.bigint()
const trial: AttachTrial = {
  begunNs: String(begunNs),
  loadMs: loaded - begun,
  attachMs: attached - loaded,
  atNs: String(atNs),
}
writeSync(1, JSON.stringify(trial))
process.exit()
