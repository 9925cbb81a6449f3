import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { checkArgument, parseShardFileName, rules } from '@onecopy/safetensors'
import { FileLock } from '@onecopy/sharedarraybuffer-utils'
import { CheckpointError } from './errors.ts'
import { syncFolder } from './new-file.ts'
import type { ShardNaming } from './plan-shards.ts'
import { warnOnce } from './shard-memory.ts'

/** The file beside the shards that a save has while it runs: its lock, and what it would leave if it were killed now. */
const MARK = /^\.(?<family>.+)\.saving$/s
/** What `saveCheckpoint` calls a file until it has its own name. */
const TEMPORARY = /^.+\.(?:safetensors|json)(?<suffix>\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.tmp)$/s
const INDEX = /^(?<stem>.+)\.safetensors\.index(?:\.(?<variant>[^.]+))?\.json$/s

/** What a mark says: one line of JSON. */
interface MarkText {
  readonly pid: number
  readonly host: string
  /** What the save's temporary files end in. */
  readonly suffix: string
  /** Whether the files that have their own names are those of one save. */
  readonly whole: boolean
}

/** A save that runs, or one that did not come to its end. */
export interface UnfinishedSave extends MarkText {
  /** Stem and variant of its files, as in `model.fp16`. */
  readonly family: string
  /** Whether it still runs, as far as that can be told. */
  readonly running: boolean
}

/** What saves have left in a folder. */
export interface SaveRemains {
  readonly saves: readonly UnfinishedSave[]
  /** Temporary files that belong to no save that runs, and the marks of those that ended. */
  readonly leftovers: readonly string[]
}

/**
 * Stem and variant of a shard or shard index in one, or null for another file: in `my.model.safetensors` nobody can tell
 * where one ends and the other begins.
 */
export function familyOf(file: string | ShardNaming): string | null {
  const naming = typeof file === 'string' ? (parseShardFileName(file) ?? INDEX.exec(file)?.groups) : file
  if (naming === undefined) return null
  return naming['variant'] == null ? naming['stem']! : `${naming['stem']}.${naming['variant']}`
}

/** What saves that run, or were killed, have in a folder: for readers, and for whoever looks after the disk. */
export async function saveRemains(folder: string): Promise<SaveRemains> {
  checkArgument('The folder of saveRemains()', folder, rules.text)
  const names = await readdir(folder)
  const saves: UnfinishedSave[] = []
  const leftovers: string[] = []
  for (const name of names) {
    const family = MARK.exec(name)?.groups?.['family']
    const save = family === undefined ? null : lookAt(join(folder, name))
    if (family === undefined || save === null) continue
    if (!save.running) leftovers.push(name)
    saves.push({ ...save, family })
  }
  const live = new Set(saves.filter(({ running }) => running).map(({ suffix }) => suffix))
  for (const name of names) {
    const suffix = TEMPORARY.exec(name)?.groups?.['suffix']
    if (suffix !== undefined && !live.has(suffix)) leftovers.push(name)
  }
  return { saves, leftovers: leftovers.sort() }
}

function lookAt(path: string): Omit<UnfinishedSave, 'family'> | null {
  for (;;) {
    const text = readMark(path)
    if (text === null) return null
    if (FileLock.isHeld(path)) return { ...text, running: true }
    // It may have ended between the two looks, as it should, and another may have begun.
    const again = readMark(path)
    if (again?.suffix === text.suffix && again.whole === text.whole) return { ...text, running: false }
  }
}

/** The right to save under one stem and variant in a folder, which one save has at a time, and the mark that readers see. */
export class SaveMark {
  readonly #folder: string
  readonly #path: string
  readonly #lock: FileLock | null
  readonly #suffix: string
  /** False from the first file that is replaced to the last; also after a save that was killed in between. */
  #whole = true

  private constructor(folder: string, path: string, lock: FileLock | null, suffix: string) {
    this.#folder = folder
    this.#path = path
    this.#lock = lock
    this.#suffix = suffix
  }

  /**
   * Takes the right to save, and removes what saves that were killed left behind.
   * @param suffix of the temporary files to come
   * @throws CheckpointError SAVE_IN_PROGRESS; SharedMemoryError LOCK_FAILED
   */
  static async take(folder: string, naming: ShardNaming, suffix: string): Promise<SaveMark> {
    const path = join(folder, `.${familyOf(naming)}.saving`)
    const lock = FileLock.take(path)
    if (lock === 'held') throw inProgress(folder, path)
    if (!(lock instanceof FileLock)) {
      const message = `Nothing keeps two processes from saving to "${folder}" at once: ${lock.unavailable}`
      warnOnce('ONECOPY_SAVE_UNLOCKED', message)
    }
    const mark = new SaveMark(folder, path, lock instanceof FileLock ? lock : null, suffix)
    try {
      mark.#whole = readMark(path)?.whole ?? true
      // At once, so that whoever comes second can say who was first.
      mark.#write()
      // The files of a save that was killed while it replaced others are needed to finish it by hand.
      if (mark.#whole) await mark.removeLeftovers()
      return mark
    } catch (error) {
      await mark.end()
      throw error
    }
  }

  /** Readers hear from now on that the files are not all of one save. */
  async beginReplacing(): Promise<void> {
    this.#whole = false
    this.#write()
    await syncFolder(this.#folder)
  }

  /** All files are in place. */
  async endReplacing(): Promise<void> {
    this.#whole = true
    await this.removeLeftovers()
  }

  /** Removes what other saves left. Where there are no locks nobody can tell whether they still run. */
  async removeLeftovers(): Promise<void> {
    if (this.#lock === null) return
    const { leftovers } = await saveRemains(this.#folder)
    const temporary = leftovers.filter((name) => TEMPORARY.test(name))
    for (const name of temporary) await rm(join(this.#folder, name), { force: true })
  }

  /** Lets others save; the mark stays where readers have to know that the files are not all of one save. */
  async end(): Promise<void> {
    try {
      // Before the lock is let go of: afterwards the file may be another's.
      if (this.#whole) await rm(this.#path, { force: true })
    } finally {
      this.#lock?.close()
    }
  }

  #write(): void {
    const text: MarkText = { pid: process.pid, host: hostname(), suffix: this.#suffix, whole: this.#whole }
    // In place, since the lock belongs to this very file, and in one call; what stood there before may be longer.
    const file = openSync(this.#path, this.#lock === null ? 'w+' : 'r+')
    try {
      writeSync(file, `${JSON.stringify(text)}\n`, 0)
      // Readers must find it after a power failure too, if they find the first of the new files.
      if (!this.#whole) fsyncSync(file)
    } finally {
      closeSync(file)
    }
  }
}

function readMark(path: string): MarkText | null {
  try {
    const { pid, host, suffix, whole } = JSON.parse(readFileSync(path, 'utf8').split('\n', 1)[0]!)
    const sound = Number.isSafeInteger(pid) && typeof host === 'string' && typeof suffix === 'string'
    return sound ? { pid, host, suffix, whole: whole !== false } : null
  } catch {
    return null // being written, or gone
  }
}

function inProgress(folder: string, path: string): CheckpointError {
  const text = readMark(path)
  const who = text === null ? 'another process' : saverName(text)
  const message = `Cannot save to "${folder}": ${who} is saving there; wait for it, or save to another folder`
  return new CheckpointError('SAVE_IN_PROGRESS', message, { path: folder, ...(text !== null && { pid: text.pid }) })
}

/** Whose save it is, as messages say it. */
export function saverName({ pid, host }: MarkText): string {
  return host === hostname() ? `process ${pid}` : `process ${pid} of host ${JSON.stringify(host)}`
}
