// @ts-check
// A coordinator in a process of its own. Publishes what it is asked to and answers with the version.
import { startCoordinator } from 'onecopy'
import { serve } from './answer.mjs'

const coordinator = await startCoordinator(JSON.parse(process.argv[2] ?? '{}'))
await serve(null, ({ name, folder, ...options }) => coordinator.publish(name, folder, options))
