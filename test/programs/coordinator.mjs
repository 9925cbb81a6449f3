// A coordinator in a process of its own: coordinator.mjs <JSON of startCoordinator's options>.
import { startCoordinator } from '@onecopy/coordinator'
import { answer } from './answer.mjs'

const coordinator = await startCoordinator(JSON.parse(process.argv[2] ?? '{}'))
answer({
  publish: ({ name, source, ...options }) => coordinator.publish(name, source, options),
  close: () => coordinator.close(),
})
