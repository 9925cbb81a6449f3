import { startCoordinator } from '@onecopy/coordinator'
import { answer, readTask } from './program.ts'

/** What the bench's coordinator calls the checkpoint. */
export interface CoordinatorTask {
  readonly socket: string
  readonly name: string
  readonly source: string | readonly string[]
}

// It ends with the process that started it.
await answer(async () => {
  const { socket, name, source } = readTask<CoordinatorTask>()
  const coordinator = await startCoordinator({ socket, whenWritten: 'ignore' })
  return coordinator.publish(name, source, { backing: 'file' })
})
