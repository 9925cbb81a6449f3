// @ts-check
import { createReadStream, readdirSync } from 'node:fs'
import { join } from 'node:path'

const CHUNK_BYTES = 2 ** 20

/**
 * Reads all files of a folder, so that the page cache has them: what came before a trial may have dropped some.
 *
 * @param {string} folder
 */
export async function warmPageCache(folder) {
  for (const name of readdirSync(folder)) {
    for await (const _ of createReadStream(join(folder, name), { highWaterMark: CHUNK_BYTES }));
  }
}
