import { writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Checkpoint, openCheckpoint } from '@onecopy/checkpoint'
import { ClientError, createWorkerPool, type WorkerPool, type WorkerPoolOptions } from '@onecopy/client'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { refusal, saveModel, until } from './support.ts'

let folder: string
let checkpoint: Checkpoint

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'onecopy task '))
  checkpoint = await openCheckpoint(await saveModel(join(folder, 'model')))
})

afterAll(async () => {
  checkpoint.close()
  await rm(folder, { recursive: true })
})

function write(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

async function start(filename: string | URL, options: Partial<WorkerPoolOptions> = {}): Promise<WorkerPool> {
  const pool = await createWorkerPool({ checkpoint, filename, minThreads: 1, maxThreads: 1, ...options })
  onTestFinished(() => pool.destroy())
  return pool
}

/** As files, and what an error for each must be. Files in ESM and in CommonJS fail in different parts of Node. */
const BROKEN: readonly [what: string, file: string, text: string | null, error: object][] = [
  ['is not there', 'missing.mjs', null, { code: 'ERR_MODULE_NOT_FOUND' }],
  ['has a syntax error', 'syntax.mjs', 'export default function ( {', { name: 'SyntaxError' }],
  ['in CommonJS has a syntax error', 'syntax.cjs', 'module.exports = function ( {', { name: 'SyntaxError' }],
  ['imports one with a syntax error', 'deep.mjs', "import './syntax.mjs'", { name: 'SyntaxError' }],
  ['imports what its package does not export', 'named.mjs', "import { nope } from 'node:fs'", { name: 'SyntaxError' }],
  [
    'imports a package that is not there',
    'package.mjs',
    "import 'no-such-package'",
    { code: 'ERR_MODULE_NOT_FOUND', message: expect.stringContaining("'no-such-package'") },
  ],
  [
    'in CommonJS requires a package that is not there',
    'package.cjs',
    "require('no-such-package')",
    { code: 'MODULE_NOT_FOUND', message: expect.stringContaining("'no-such-package'") },
  ],
  [
    'throws',
    'throws.mjs',
    "throw Object.assign(new RangeError('no key', { cause: new TypeError('why') }), { code: 'NO_KEY', seats: 3 })",
    { name: 'RangeError', code: 'NO_KEY', seats: 3, cause: new TypeError('why') },
  ],
  [
    'in CommonJS throws',
    'throws.cjs',
    "throw Object.assign(new Error('no key'), { code: 'NO_KEY' })",
    { code: 'NO_KEY' },
  ],
]

describe('run() rejects with the error of a task module that', () => {
  it.each(BROKEN)('%s', async (_, file, text, expected) => {
    const path = text === null ? join(folder, file) : write(file, text)
    const pool = await start(path)
    // The second time the thread has what it found the first time.
    for (const time of ['first', 'second']) {
      const error = await refusal(pool.run(time))
      expect(error).toMatchObject({ taskModule: path, ...expected })
      expect(error.message).toContain(path)
      expect(error.stack).toContain(error.message.split('\n')[0])
    }
    const elsewhere = await start(write('fine.mjs', 'export default (task) => task'))
    expect(await refusal(elsewhere.run(0, { filename: path }))).toMatchObject(expected)
    expect(await elsewhere.run('works')).toBe('works')
  })

  it('throws what is no error', async () => {
    const pool = await start(write('text.mjs', "throw 'only text'"))
    await expect(pool.run(1)).rejects.toBe('only text')
  })

  it('has no such function, which is TASK_NOT_FOUND and names those that there are', async () => {
    const path = write('names.mjs', 'export const predict = () => 1, size = 5; export default 7')
    const pool = await start(path)
    const error = await refusal(pool.run(1))
    expect(error).toBeInstanceOf(ClientError)
    expect(error).toMatchObject({ code: 'TASK_NOT_FOUND', path, candidates: ['predict'] })
    expect(error.message).toBe(
      `The task module ${path} exports a value of type number as "default", which must be a function; its functions are predict`,
    )
    expect((await refusal(pool.run(1, { name: 'perdict' }))).message).toContain('exports nothing as "perdict"')
    expect(await pool.run(1, { name: 'predict' })).toBe(1)
  })

  it('was mended since is not remembered', async () => {
    const path = join(folder, 'later.mjs')
    const pool = await start(path)
    await refusal(pool.run(1))
    write('later.mjs', 'export default (task) => task + 1')
    expect(await pool.run(1)).toBe(2)
    expect(await pool.run(2)).toBe(3)
  })

  it('is a URL that Node cannot import', async () => {
    const pool = await start(new URL('gopher://host/task.mjs'))
    const error = await refusal(pool.run(1))
    expect(error).toMatchObject({ code: 'ERR_UNSUPPORTED_ESM_URL_SCHEME' })
    expect(error.message).toContain('gopher://host/task.mjs')
  })
})

describe('run() runs a task module that', () => {
  it('was ESM before it was compiled to CommonJS', async () => {
    const compiled = [
      '"use strict";',
      'Object.defineProperty(exports, "__esModule", { value: true });',
      'exports.other = void 0;',
      'exports.default = run;',
      'function run(task) { return task + 1; }',
      'const other = (task) => task + 2;',
      'exports.other = other;',
    ]
    const pool = await start(write('compiled.cjs', compiled.join('\n')))
    expect(await pool.run(1)).toBe(2)
    expect(await pool.run(1, { name: 'other' })).toBe(3)
  })

  it('exports a promise of its function, which it may have to wait for', async () => {
    const slowly = '(async () => { await null; return (task) => task + 1 })()'
    for (const path of [
      write('soon.cjs', `module.exports = ${slowly}`),
      write('soon.mjs', `export default ${slowly}`),
    ]) {
      expect(await (await start(path)).run(1)).toBe(2)
    }
    const never = write(
      'never.mjs',
      'export default Promise.reject(Object.assign(new Error("no key"), { code: "E_KEY" }))',
    )
    const error = await refusal((await start(never)).run(1))
    expect(error).toMatchObject({ code: 'E_KEY' })
    expect(error.message).toContain(never)
  })

  it('is named by a path, a relative path, or a URL of some kind', async () => {
    const path = write('a 100% task.mjs', 'export default (task) => [task, new URL(import.meta.url).search]')
    const url = pathToFileURL(path)
    const withQuery = new URL('?version=2', url)
    const pool = await start(path)
    for (const filename of [undefined, relative(process.cwd(), path), url, url.href]) {
      expect(await pool.run(1, filename === undefined ? {} : { filename })).toEqual([1, ''])
      if (filename !== undefined) expect(await (await start(filename)).run(1)).toEqual([1, ''])
    }
    expect(await pool.run(1, { filename: withQuery })).toEqual([1, '?version=2'])
    expect(await pool.run(1, { filename: new URL('data:text/javascript,export default () => 5') })).toBe(5)
  })

  it('is TypeScript, where something teaches import() that', async () => {
    const hooks = write(
      'hooks.mjs',
      `export async function load(url, context, next) {
        if (!url.endsWith('.ts')) return next(url, context)
        const { source } = await next(url, { ...context, format: 'module' })
        return { format: 'module', shortCircuit: true, source: String(source).replaceAll(': number', '') }
      }`,
    )
    const register = write(
      'register.mjs',
      `import { register } from 'node:module'; register(${JSON.stringify(pathToFileURL(hooks).href)})`,
    )
    const task = write('import.ts', 'export default (task: number): number => task + 1')
    const pool = await start(task, { execArgv: ['--import', pathToFileURL(register).href] })
    expect(await pool.run(1)).toBe(2)
  })

  it('is TypeScript, where something teaches require() that, as tsx in threads of Node 20', async () => {
    const hook = write(
      'hook.cjs',
      `const plain = require.extensions['.js']
      require.extensions['.js'] = (module, path) =>
        (/\\.[mc]?ts$/.test(path) ? require.extensions['.ts'] : plain)(module, path)
      require.extensions['.ts'] = (module, path) => {
        const text = require('node:fs').readFileSync(path, 'utf8').replaceAll(': number', '')
        module._compile(text.replace('export default', 'exports.__esModule = true; exports.default ='), path)
      }`,
    )
    const task = write('require.ts', 'export default (task: number): number => task + 1')
    const pool = await start(task, { execArgv: ['--require', hook] })
    expect(await pool.run(1)).toBe(2)
    const text = await refusal(pool.run(1, { name: 'other' }))
    expect(text).toMatchObject({ code: 'TASK_NOT_FOUND', path: task })
    for (const name of ['require.mts', 'require.cts']) {
      const filename = write(name, 'export default (task: number): number => task + 2')
      expect(await pool.run(1, { filename })).toBe(3)
    }
  })
})

it('a signal ends the wait for a task module whose import never ends, and the pool goes on', async () => {
  const pool = await start(write('fine.mjs', 'export default (task) => task'))
  const controller = new AbortController()
  const filename = write('never.mjs', 'await new Promise(() => {})')
  const waiting = refusal(pool.run(1, { filename, signal: controller.signal }))
  const next = pool.run(2)
  controller.abort()
  expect(await waiting).toMatchObject({ name: 'AbortError' })
  expect(await next).toBe(2)
})

describe.each([0, 1])('where the import of a task module ends its thread, with %i threads at least', (minThreads) => {
  const twice = async (pool: WorkerPool): Promise<unknown[]> => {
    const begun = [pool.run('a'), pool.run('b')].map(refusal)
    return [...(await Promise.all(begun)), await refusal(pool.run('c'))]
  }

  it('by process.exit(), every task is refused', async () => {
    const pool = await start(write('exits.mjs', 'process.exit(4)'), { minThreads })
    const [first, ...others] = await twice(pool)
    if (minThreads === 1) expect(first).toMatchObject({ message: 'worker exited with code: 4' })
    else expect(first).toMatchObject({ code: 'THREAD_NOT_STARTED' })
    for (const error of others) expect(error).toMatchObject({ code: 'THREAD_NOT_STARTED' })
  })

  it('by an error outside of it, every task is refused with that as the cause', async () => {
    const text =
      "setTimeout(() => { throw Object.assign(new Error('no port'), { code: 'NO_PORT' }) }); await new Promise(() => {})"
    const pool = await start(write('outside.mjs', text), { minThreads })
    pool.on('error', () => {}) // of the thread that piscina starts when the first has gone
    const [first, ...others] = await twice(pool)
    if (minThreads === 1) expect(first).toMatchObject({ code: 'NO_PORT' })
    else expect(first).toMatchObject({ code: 'THREAD_NOT_STARTED', cause: { code: 'NO_PORT' } })
    for (const error of others) {
      expect(error).toMatchObject({ code: 'THREAD_NOT_STARTED', message: expect.stringContaining('no port') })
    }
  })

  it('some of the time, tasks that can run do', async () => {
    const path = write('sometimes.mjs', 'process.exit(4)')
    const pool = await start(path, { minThreads })
    await refusal(pool.run(1))
    write('sometimes.mjs', 'export default (task) => task')
    await until(async () => (await pool.run(1).catch(() => null)) === 1, 'a thread starts again')
  })
})
