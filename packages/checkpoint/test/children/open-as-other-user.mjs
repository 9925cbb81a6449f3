// @ts-check
// Opens a checkpoint as a user who does not own it and prints what came of it: node open-as-other-user.mjs <source>
import { mappingCount } from '@onecopy/sharedarraybuffer-utils'
import { openCheckpoint } from '../../dist/index.js'

const source = /** @type {string} */ (process.argv[2])
// Once as the user that this was started as: another may be unable to read what is loaded when something is wrong.
await openCheckpoint(source).then(
  (checkpoint) => checkpoint.close(),
  () => {},
)
if (process.geteuid?.() === 0) {
  process.setgroups?.([])
  process.setgid?.(65534)
  process.setuid?.(65534)
}

/** @type {Record<string, unknown>} */
let result
try {
  const checkpoint = await openCheckpoint(source)
  result = { tensors: checkpoint.names }
  checkpoint.close()
} catch (error) {
  const { name, code, path, message } = /** @type {Error & { code?: string, path?: string }} */ (error)
  result = { error: { name, code, path, message }, mappings: mappingCount() }
}
process.stdout.write(JSON.stringify(result))
