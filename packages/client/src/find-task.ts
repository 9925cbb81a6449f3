import { addThrown, packThrown } from './pack-thrown.ts'

// What ends the thread, such as an error in a timer or a result that cannot be cloned, the pool gets from Node.
process.on('uncaughtExceptionMonitor', addThrown)

/** Which function of which module runs a task; as JSON it is the name of an export of `task-loader`. */
export interface TaskName {
  /** Of the export. */
  readonly name: string
  /** Of the module. */
  readonly url: string
}

/** What both ways of loading a module know without help. */
const PLAIN_EXTENSIONS: ReadonlySet<string> = new Set(['.js', '.mjs', '.cjs', '.json', '.node', '.wasm'])

type TaskFunction = (task: unknown) => unknown

/**
 * The function that runs a task in this thread. What it throws is packed, see pack-thrown.ts.
 * @param require a module's of the thread, for what only that can load
 * @throws what the module throws while it is imported, or that it has no such function; packed as well
 */
export async function findTask(taskName: string, require: NodeJS.Require): Promise<TaskFunction> {
  const { name, url } = JSON.parse(taskName) as TaskName
  let loaded: Record<string, unknown>
  let run: unknown
  try {
    loaded = isForRequire(url, require) ? { default: require(fileOf(url)) } : await import(url)
    // It may be a promise, as with piscina: of a function that has something to wait for before the first task.
    run = await exportOf(loaded, name)
  } catch (error) {
    throw packThrown(error, fileOf(url))
  }
  if (typeof run !== 'function') throw packThrown(taskNotFound(loaded, name, run, fileOf(url)))
  return async (task) => {
    try {
      return await run(task)
    } catch (error) {
      throw packThrown(error)
    }
  }
}

/**
 * In the threads of Node 20, tools such as tsx teach TypeScript only to require(). Node that knows it by itself does so in
 * import() too, which is better: see task-loader.cts.
 */
function isForRequire(url: string, require: NodeJS.Require): boolean {
  const { protocol, pathname } = new URL(url)
  const extension = /\.\w+$/.exec(pathname)?.[0] ?? ''
  if (protocol !== 'file:' || PLAIN_EXTENSIONS.has(extension)) return false
  // What is taught `.ts` takes the other two as well: they come to it as what require() does not know.
  const known = extension === '.mts' || extension === '.cts' ? '.ts' : extension
  if (!(known in require.extensions)) return false
  return !(process.features as { typescript?: unknown }).typescript
}

/**
 * Of a module in CommonJS, the exports object is the default: it may have names that only it knows, and `default` too, when
 * it was written as ESM and compiled.
 */
function exportOf(loaded: Record<string, unknown>, name: string): unknown {
  const own = loaded[name]
  if (typeof own === 'function') return own
  return (loaded['default'] as Record<string, unknown> | null | undefined)?.[name] ?? own
}

/** A ClientError. The class stays out of the threads, which would load one file more for it. */
function taskNotFound(loaded: Record<string, unknown>, name: string, found: unknown, file: string): Error {
  const what = found === undefined ? 'nothing' : `${found === null ? 'null' : `a value of type ${typeof found}`}`
  const candidates = Object.keys(loaded).filter((key) => typeof loaded[key] === 'function')
  const others = candidates.length === 0 ? 'it exports no function' : `its functions are ${candidates.join(', ')}`
  const message = `The task module ${file} exports ${what} as ${JSON.stringify(name)}, which must be a function; ${others}`
  return Object.assign(new Error(message), { name: 'ClientError', code: 'TASK_NOT_FOUND', path: file, candidates })
}

/** As people write it; a URL of another kind stays one. */
function fileOf(url: string): string {
  const { protocol, pathname } = new URL(url)
  return protocol === 'file:' ? decodeURIComponent(pathname) : url
}
