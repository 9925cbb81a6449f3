// @ts-check
// Writes to a selected part, which ends the process: node write-to-part.mjs <path> <backing> <way> <selection as JSON>
import { openCheckpoint } from '../../dist/index.js'

const [path = '', backing, way, json = ''] = process.argv.slice(2)
const options = { backing: /** @type {'file' | 'sealed'} */ (backing) }
const selection = JSON.parse(json)
const part =
  way === 'open'
    ? await openCheckpoint(path, { ...options, selection })
    : await (await openCheckpoint(path, options)).select(selection)
new Uint8Array(part.tensor('second').buffer)[3] = 1
