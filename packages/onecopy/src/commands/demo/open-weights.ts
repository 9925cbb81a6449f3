import { join } from 'node:path'
import { type Checkpoint, openCheckpoint } from '@onecopy/checkpoint'
import { attach } from '@onecopy/client'
import { startCoordinator } from '@onecopy/coordinator'
import type { Source } from '../../option-values.ts'
import { TemporaryFolder } from '../temporary-folder.ts'
import type { AttachPoint } from './run-processes.ts'

/** What decides how a demo's weights are opened. */
export interface WeightsOptions {
  readonly processes: number
  readonly backing: 'file' | 'sealed'
  readonly variant?: string
  readonly prefer?: 'index' | 'single'
}

/** Weights that threads of this process read, and where other processes can attach to the same. */
export interface OpenedWeights {
  readonly checkpoint: Checkpoint
  readonly openMs: number
  /** Publishes them, and gives the place; null where processes are not wanted or cannot share memory. */
  readonly publish: () => Promise<AttachPoint | null>
  /** Why there are no processes although they were asked for. */
  readonly withoutProcesses: string | null
  readonly close: () => Promise<void>
}

/** What the demo's coordinator calls the checkpoint. */
const NAME = 'demo'

const HEAP_REASON = 'only mapped memory can be shared with other processes, and this machine cannot map files'

/**
 * Opens the weights. With `file` backing this process opens them itself, and the coordinator publishes the same files,
 * whose pages everybody shares. A sealed copy belongs to the coordinator, so this process attaches to it like the others.
 */
export async function openWeights(source: Source, options: WeightsOptions): Promise<OpenedWeights> {
  const { processes, backing, variant, prefer } = options
  const locate = { ...(variant && { variant }), ...(prefer && { prefer }) }
  const started = performance.now()
  if (processes === 0 || backing === 'file') {
    const checkpoint = await openCheckpoint(source, { ...locate, ...(backing === 'sealed' && { backing }) })
    const openMs = performance.now() - started
    const sharable = checkpoint.backing !== 'heap'
    const place = processes > 0 && sharable ? await startPlace() : null
    return {
      checkpoint,
      openMs,
      publish: async () => place?.publish(sourceOf(checkpoint), 'file') ?? null,
      withoutProcesses: processes > 0 && !sharable ? HEAP_REASON : null,
      close: async () => {
        checkpoint.close()
        await place?.close()
      },
    }
  }
  using files = await openCheckpoint(source, { ...locate, backing: 'file' })
  const place = await startPlace()
  try {
    const attachPoint = await place.publish(sourceOf(files), 'sealed')
    const checkpoint = await attach({ socket: attachPoint.socket, checkpoint: NAME, name: 'onecopy demo' })
    return {
      checkpoint,
      openMs: performance.now() - started,
      publish: async () => attachPoint,
      withoutProcesses: null,
      close: async () => {
        checkpoint.close()
        await place.close()
      },
    }
  } catch (error) {
    await place.close()
    throw error
  }
}

/** A coordinator in this process, on a socket in a folder of its own. */
async function startPlace() {
  const folder = new TemporaryFolder('onecopy-demo-socket-')
  const socket = join(folder.path, 'onecopy.sock')
  try {
    const coordinator = await startCoordinator({ socket, whenWritten: 'ignore' })
    return {
      publish: async (source: string | readonly string[], backing: 'file' | 'sealed'): Promise<AttachPoint> => {
        await coordinator.publish(NAME, source, { backing })
        return { socket, name: NAME }
      },
      close: async (): Promise<void> => {
        await coordinator.close()
        folder.remove()
      },
    }
  } catch (error) {
    folder.remove()
    throw error
  }
}

/** What opens the same files again, whichever of several in a folder they are. */
function sourceOf({ label, shards }: Checkpoint): string | readonly string[] {
  return label.endsWith('.json') ? label : shards.map(({ path }) => path)
}
