import { type Coordinator, type CoordinatorOptions, startCoordinator, type WriterPolicy } from '@onecopy/coordinator'
import { printable } from '../terminal/printable.ts'
import { styleOf } from '../terminal/style.ts'
import { displayName, displayWidth } from '../terminal/text.ts'
import { errorText, eventText } from './serve/event-text.ts'
import { publishedLine, whereLines } from './serve/greeting.ts'
import { HangUps } from './serve/hang-ups.ts'
import { publishChanged } from './serve/publish-changed.ts'
import type { ServedCheckpoint } from './serve/served-checkpoint.ts'

/** The options of `onecopy serve`. */
export interface ServeOptions {
  readonly socket?: string
  readonly backing: 'file' | 'sealed'
  readonly budget?: number | 'none' // bytes
  readonly strict?: boolean
  readonly pin?: boolean
  readonly onDemand?: boolean
  readonly allowUid?: readonly number[]
  readonly allowGid?: readonly number[]
  readonly group?: number
  readonly publishers?: readonly number[]
  readonly publisherGroup?: readonly number[]
  readonly maxClients?: number
  readonly handBackMs?: number
  readonly whenWritten: WriterPolicy
  readonly quiet?: boolean
}

type Log = (text: string) => void

/**
 * Serves checkpoints until a signal ends it: SIGTERM, SIGINT, or the end of the terminal that it was started in, gracefully; a
 * second one at once.
 */
export async function serve(served: readonly ServedCheckpoint[], options: ServeOptions): Promise<void> {
  outliveReaders()
  const log: Log = options.quiet ? () => {} : logLine
  const coordinator = await startCoordinator(coordinatorOptions(options))
  coordinator.on('event', (event) => {
    const text = eventText(event)
    if (text !== null) log(text)
  })
  const hangUps = new HangUps()
  const stopped = Promise.race([firstSignal(), hangUps.terminalGone])
  try {
    const published = publishAll(coordinator, served, options, log)
    publishAgainOnHangUp(coordinator, published, hangUps, log)
    const signal = await Promise.race([stopped, published.then(() => stopped)])
    log(`${signal}: stopping`)
  } catch (error) {
    await coordinator.close('the coordinator could not start')
    throw error
  }
  await coordinator.close()
  // A load that still runs is not waited for.
  process.exit()
}

function coordinatorOptions(options: ServeOptions): CoordinatorOptions {
  const { socket, budget, allowUid, allowGid, group, publishers, publisherGroup, maxClients, handBackMs } = options
  return {
    whenWritten: options.whenWritten,
    ...(socket !== undefined && { socket }),
    ...(budget !== undefined && { budgetBytes: budget === 'none' ? null : budget }),
    ...(group !== undefined && { socketGroup: group }),
    ...(allowUid !== undefined && { allowedUids: allowUid }),
    ...(allowGid !== undefined && { allowedGids: allowGid }),
    ...(publishers !== undefined && { publisherUids: publishers }),
    ...(publisherGroup !== undefined && { publisherGids: publisherGroup }),
    ...(maxClients !== undefined && { maxClients }),
    ...(handBackMs !== undefined && { handBackMs }),
  }
}

/** All at a time: small ones need not wait for large ones. One that cannot be served does not keep the others away. */
async function publishAll(
  coordinator: Coordinator,
  served: readonly ServedCheckpoint[],
  { backing, pin = false, onDemand = false, strict = false }: ServeOptions,
  log: Log,
): Promise<void> {
  const nameWidth = Math.max(...served.map(({ name }) => displayWidth(displayName(name))))
  const publish = async (each: ServedCheckpoint): Promise<string> => {
    log(`${onDemand ? 'validating' : 'loading'} ${displayName(each.name)} from ${each.source}`)
    const started = performance.now()
    const load = onDemand ? 'on-demand' : 'now'
    const version = await coordinator.publish(each.name, each.source, { backing, pinned: pin, load })
    const milliseconds = performance.now() - started
    return publishedLine(each, version, await coordinator.status(), milliseconds, nameWidth)
  }
  const publishing = served.map((each) => publish(each).catch((error: unknown) => ({ error })))
  const published: ServedCheckpoint[] = []
  let failure: { readonly error: unknown } | null = null
  for (const [at, each] of served.entries()) {
    const result = await publishing[at]!
    if (typeof result === 'string') {
      published.push(each)
      process.stdout.write(`${result}\n`)
      continue
    }
    failure ??= result
    if (strict) break
    if (served.length > 1) logLine(`not served: ${displayName(each.name)}: ${errorText(result.error)}`)
  }
  if (failure !== null && (strict || published.length === 0)) throw failure.error
  coordinator.notifyReady()
  const lines = whereLines(coordinator.socket, published[0]!.name, styleOf(process.stdout))
  process.stdout.write(`${lines.join('\n')}\n`)
}

/** SIGHUP looks at the files again, one time after the other. */
function publishAgainOnHangUp(coordinator: Coordinator, published: Promise<void>, hangUps: HangUps, log: Log): void {
  let last: Promise<void> = published
  const publishAgain = async (): Promise<void> => {
    const again = await publishChanged(coordinator, (error) => logLine(`not published again: ${errorText(error)}`))
    log(again.length === 0 ? 'SIGHUP: nothing new' : `SIGHUP: published ${again.map(displayName).join(', ')}`)
  }
  hangUps.onAsked = () => {
    last = last.then(publishAgain).catch((error) => logLine(`SIGHUP: ${errorText(error)}`))
  }
}

/** Resolves with the first signal that asks to stop; a second one ends the process as if nobody listened. */
function firstSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    const onSignal = (signal: NodeJS.Signals): void => {
      process.off('SIGTERM', onSignal).off('SIGINT', onSignal)
      resolve(signal)
    }
    process.on('SIGTERM', onSignal).on('SIGINT', onSignal)
  })
}

/** Whoever read the first lines or the log may go; those who read weights stay. */
function outliveReaders(): void {
  for (const stream of [process.stdout, process.stderr]) stream.removeAllListeners('error').on('error', () => {})
}

function logLine(text: string): void {
  process.stderr.write(`${new Date().toISOString()} ${printable(text)}\n`)
}
