// @ts-nocheck
// A coordinator of the built package that does what its parent asks, see CoordinatorProcess in support.ts.
import { startCoordinator } from '@onecopy/coordinator'
import { mappingCount } from '@onecopy/sharedarraybuffer-utils'

let coordinator
const verbs = {
  start: async (options) => {
    coordinator = await startCoordinator(options)
    coordinator.notifyReady()
    process.once('SIGTERM', () => coordinator.close('SIGTERM').then(() => process.disconnect()))
    return coordinator.socket
  },
  publish: (...args) => coordinator.publish(...args),
  retire: (name) => coordinator.retire(name),
  status: () => coordinator.status(),
  close: () => coordinator.close(),
  measure: () => {
    gc()
    return { heapBytes: process.memoryUsage().heapUsed + process.memoryUsage().external, mappings: mappingCount() }
  },
}

process.on('message', async ({ id, verb, args }) => {
  try {
    process.send({ id, result: (await verbs[verb](...args)) ?? null })
  } catch ({ name, code, message }) {
    process.send({ id, error: { name, code, message } })
  }
})
