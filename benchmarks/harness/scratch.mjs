// @ts-check
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** The folder for everything that benchmarks make, which `--clean` removes. */
export const BENCH_FOLDER = process.env['ONECOPY_BENCH_DIR'] ?? join(tmpdir(), 'onecopy-benchmarks')

/**
 * Two kinds of folders: a cache for what takes long to make and little room (sparse checkpoints, Python packages), and one
 * for this run alone, which is gone when the process ends.
 */
export class Scratch {
  /** @readonly */
  cache
  /** @readonly */
  temporary
  #remove = () => this.remove()
  /** @param {NodeJS.Signals} signal */
  #interrupted = (signal) => process.exit(signal === 'SIGINT' ? 130 : 143)

  /** @param {string} [folder] */
  constructor(folder = BENCH_FOLDER) {
    this.cache = folder
    mkdirSync(folder, { recursive: true })
    removeOrphans(folder)
    this.temporary = mkdtempSync(join(folder, `run-${process.pid}-`))
    process.once('exit', this.#remove)
    process.once('SIGINT', this.#interrupted)
    process.once('SIGTERM', this.#interrupted)
  }

  /**
   * A folder that is made once and kept. What is made half is never found.
   *
   * @param {string} name changes when the content does
   * @param {(folder: string) => void | Promise<void>} make
   * @returns {Promise<string>}
   */
  async cached(name, make) {
    return madeOnce(join(this.cache, name), make)
  }

  /**
   * A folder that is made once in this run, and removed with it.
   *
   * @param {string} name
   * @param {(folder: string) => void | Promise<void>} make
   * @returns {Promise<string>}
   */
  async made(name, make) {
    return madeOnce(join(this.temporary, name), make)
  }

  /** @param {string} name removes a folder of this run early, to give its room back */
  discard(name) {
    rmSync(join(this.temporary, name), { recursive: true, force: true })
  }

  /** Removes what belongs to this run. */
  remove() {
    process.off('exit', this.#remove)
    process.off('SIGINT', this.#interrupted)
    process.off('SIGTERM', this.#interrupted)
    rmSync(this.temporary, { recursive: true, force: true })
  }
}

/**
 * Removes what runs left that were killed and could not do it themselves.
 *
 * @param {string} folder
 */
function removeOrphans(folder) {
  for (const name of readdirSync(folder)) {
    const pid = Number(/^run-(\d+)-/.exec(name)?.[1])
    if (pid > 0 && !isAlive(pid)) rmSync(join(folder, name), { recursive: true, force: true })
  }
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM' // another user's
  }
}

/**
 * @param {string} folder
 * @param {(folder: string) => void | Promise<void>} make
 */
async function madeOnce(folder, make) {
  if (existsSync(folder)) return folder
  const unfinished = `${folder}.unfinished`
  rmSync(unfinished, { recursive: true, force: true })
  mkdirSync(unfinished, { recursive: true })
  await make(unfinished)
  renameSync(unfinished, folder)
  return folder
}

/** Removes everything that benchmarks ever kept. */
export function clean(folder = BENCH_FOLDER) {
  rmSync(folder, { recursive: true, force: true })
}
