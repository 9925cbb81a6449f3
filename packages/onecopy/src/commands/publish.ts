import { coordinatorStatus, publishTo } from '@onecopy/client'
import type { Source } from '../option-values.ts'
import { displayName } from '../terminal/text.ts'
import { formatBytes, formatMs } from '../terminal/units.ts'
import { QUESTIONS } from './questions.ts'

/** The options of `onecopy publish`. */
export interface PublishCommandOptions {
  readonly socket?: string
  readonly backing: 'file' | 'sealed'
  readonly pin?: boolean
  readonly onDemand?: boolean
}

/** Publishes a checkpoint with a running coordinator, and says what it became. */
export async function publish(name: string, source: Source, options: PublishCommandOptions): Promise<void> {
  const { socket, backing, pin = false, onDemand = false } = options
  const connect = { ...(socket !== undefined && { socket }), name: QUESTIONS.publish }
  const started = performance.now()
  const load = onDemand ? 'on-demand' : 'now'
  const version = await publishTo(name, source, { ...connect, backing, pinned: pin, load })
  const milliseconds = performance.now() - started
  const { checkpoints } = await coordinatorStatus(connect)
  const found = checkpoints.find((each) => each.name === name)?.versions.find((each) => each.version === version)
  const size = found === undefined ? '' : `  ${formatBytes(found.byteLength)}`
  const readiness = onDemand ? 'validated' : 'ready'
  const how = `${backing}${pin ? ', pinned' : ''}  ${readiness} in ${formatMs(milliseconds)}`
  process.stdout.write(`${displayName(name)}@${version}${size}  ${how}\n`)
}
