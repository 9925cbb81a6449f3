// @ts-check
// Saves more than the limits of this process allow and prints the error: node save-failing.mjs <folder>
import { saveCheckpoint } from '../../dist/index.js'

try {
  const data = new Uint8Array(1_000_000)
  await saveCheckpoint(/** @type {string} */ (process.argv[2]), [{ name: 'a', dtype: 'U8', shape: [1_000_000], data }])
  process.stdout.write('{}')
} catch (error) {
  const { code, message, path, cause } = /** @type {Error & { code?: string, path?: string }} */ (error)
  const system = /** @type {NodeJS.ErrnoException | undefined} */ (cause)?.code
  process.stdout.write(JSON.stringify({ code, message, path, system }))
}
