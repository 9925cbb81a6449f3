// @ts-nocheck
// A coordinator of the built package: coordinator.mjs <socket> [<hand-back time in ms>].
import { startCoordinator } from '@onecopy/coordinator'
import { answer } from './answer.mjs'

const [socket, handBackMs = '30000'] = process.argv.slice(2)
const coordinator = await startCoordinator({ socket, handBackMs: Number(handBackMs) })
answer({
  publish: (...args) => coordinator.publish(...args),
  retire: (name) => coordinator.retire(name),
  status: () => coordinator.status(),
  close: () => coordinator.close(),
})
