// What piscina loads in every thread, in place of the user's module, which it would fetch with require(). For a module in
// ESM that is a synchronous import, and ending a thread in the midst of one ends the whole process on Node 20 ("IsGraphAsync
// must be used on an instantiated module"). So this is CommonJS, and gets the user's module with import().

/** The function of a task's name, see task-name.ts. */
async function find(taskName: string): Promise<unknown> {
  const { parseTaskName } = await import('./task-name.ts')
  const { name, url } = parseTaskName(taskName)
  const loaded = (await import(url)) as Record<string, unknown>
  // CommonJS modules may have names that only their exports object knows.
  return loaded[name] ?? (loaded['default'] as Record<string, unknown> | undefined)?.[name]
}

// piscina takes the export of the task's name, waits for it if it is a promise, and keeps it. Only task names have a space:
// awaiting this object asks it for `then`.
module.exports = new Proxy(
  { __esModule: true },
  { get: (target, key) => (typeof key === 'string' && key.includes(' ') ? find(key) : Reflect.get(target, key)) },
)
