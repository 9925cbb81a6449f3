// What piscina loads in every thread, in place of the user's module, which it would fetch with require(). For a module in
// ESM that is a synchronous import, and ending a thread in the midst of one ends the whole process on Node 20 ("IsGraphAsync
// must be used on an instantiated module"). So this is CommonJS, and gets the user's module with import().

const { threadId, workerData } = require('node:worker_threads') as typeof import('node:worker_threads')

type WorkerDataModule = typeof import('./worker-data.ts', { with: { 'resolution-mode': 'import' }})
type FindTask = typeof import('./find-task.ts', { with: { 'resolution-mode': 'import' }})['findTask']

// Written out, because it must be known before anything is imported.
const IMPORTS_KEY: WorkerDataModule['IMPORTS_KEY'] = 'onecopy:imports'
const board: ReturnType<WorkerDataModule['createImportBoard']> = workerData[IMPORTS_KEY]
const slot = 1 + (threadId % (board.length - 1))
let imports = 0

/** The function of a task's name, see find-task.ts. The pool does not end the thread while this imports, if it can wait. */
async function find(taskName: string): ReturnType<FindTask> {
  imports++
  // Written before the end is looked for; the pool writes the end before it looks here. So one of the two sees the other.
  Atomics.store(board, slot, threadId)
  try {
    if (!isEnding()) return await (await import('./find-task.ts')).findTask(taskName, require)
  } finally {
    if (--imports === 0) Atomics.compareExchange(board, slot, threadId, 0)
    // Here the thread is easy to end. Going on, it would begin the task that waits for this module.
    if (isEnding()) await never()
  }
  return never()
}

function isEnding(): boolean {
  return Atomics.load(board, 0) === 1
}

function never(): Promise<never> {
  return new Promise(() => {})
}

/**
 * piscina swallows the error of a handler that it cannot get, and says that there is none. So it always gets one, which fails
 * when it is called; and which looks again then, because what was wrong may have been mended or have passed.
 */
async function handlerOf(taskName: string): ReturnType<FindTask> {
  try {
    return await find(taskName)
  } catch {
    return async (task) => (await find(taskName))(task)
  }
}

// piscina takes the export of the task's name, waits for it if it is a promise, and keeps it. Only task names are JSON:
// awaiting this object asks it for `then`.
module.exports = new Proxy(
  { __esModule: true },
  { get: (target, key) => (typeof key === 'string' && key[0] === '{' ? handlerOf(key) : Reflect.get(target, key)) },
)
