// @ts-check
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { trialPath } from './trial.mjs'

const run = promisify(execFile)

/**
 * Builds a C program of `benchmarks/rivals` with the optimisations that a C programmer would ask for.
 *
 * @param {string} name without `.c`
 * @param {import('./scratch.mjs').Scratch} scratch
 * @returns {Promise<{ path: string, reason: null } | { path: null, reason: string }>}
 */
export async function compile(name, scratch) {
  const path = join(scratch.temporary, name)
  const compiler = process.env['CC'] ?? 'cc'
  try {
    await run(compiler, ['-O3', '-march=native', '-pthread', '-o', path, trialPath(`rivals/${name}.c`)])
    return { path, reason: null }
  } catch (error) {
    const { code, stderr } = /** @type {NodeJS.ErrnoException & { stderr?: string }} */ (error)
    const reason = code === 'ENOENT' ? `there is no C compiler "${compiler}"` : `${compiler} failed: ${stderr}`
    return { path: null, reason }
  }
}
