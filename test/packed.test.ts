import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { saveCheckpoint } from 'onecopy'
import { expect, it } from 'vitest'
import { temporaryFolder } from './support.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

/** A user's program: what the README shows, in TypeScript. */
const PROGRAM = `
import { createWorkerPool, openCheckpoint, type Checkpoint, type TensorView } from 'onecopy'
import { attach } from 'onecopy/attach'

const checkpoint: Checkpoint = await openCheckpoint(process.argv[2]!)
const view: TensorView = checkpoint.tensor('layer.weight')
// @ts-expect-error views are read-only
const refused = () => { view.data[0] = 1 }
const pool = await createWorkerPool<string, number>({ checkpoint, filename: new URL('./task.mjs', import.meta.url), maxThreads: 2 })
console.log(JSON.stringify([checkpoint.backing, view.shape, await pool.run('layer.weight'), typeof refused, typeof attach]))
await pool.destroy()
checkpoint.close()
`
const TASK = `
import { weights } from 'onecopy/worker'
export default (name) => weights().tensor(name).toFloat32().reduce((sum, value) => sum + value, 0)
`
const TSCONFIG = {
  compilerOptions: {
    module: 'NodeNext',
    target: 'ES2023',
    strict: true,
    types: ['node'],
    skipLibCheck: false,
    noEmitOnError: true,
  },
  files: ['main.ts'],
}

it('the packed packages install, type-check, run and bring the command, without the workspace', async () => {
  const folder = temporaryFolder()
  const tarballs = join(folder, 'tarballs')
  mkdirSync(tarballs)
  const { packageManager } = (await import('../package.json', { with: { type: 'json' } })).default
  const run = (command: string, ...args: string[]): string =>
    execFileSync(command, args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  const packages = readdirSync(join(root, 'packages'))
  for (const name of packages) {
    const pack = [
      '--yes',
      packageManager,
      '--dir',
      join(root, 'packages', name),
      'pack',
      '--pack-destination',
      tarballs,
    ]
    run('npx', ...pack)
  }
  const files = readdirSync(tarballs).map((file) => join(tarballs, file))
  expect(files).toHaveLength(packages.length)

  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module' }))
  run('npm', 'install', '--no-audit', '--no-fund', '--prefer-offline', ...files, '@types/node@20')
  writeFileSync(join(folder, 'main.ts'), PROGRAM)
  writeFileSync(join(folder, 'task.mjs'), TASK)
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(TSCONFIG))
  run(process.execPath, join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', folder)

  const data = Float32Array.from([1, 2, 3.5])
  await saveCheckpoint(join(folder, 'model'), [{ name: 'layer.weight', dtype: 'F32', shape: [3], data }])
  const backing = process.env['ONECOPY_SKIP_NATIVE'] ? 'heap' : 'file'
  expect(JSON.parse(run(process.execPath, 'main.js', 'model'))).toEqual([backing, [3], 6.5, 'function', 'function'])
  expect(run('npx', '--no-install', 'onecopy', 'inspect', 'model')).toContain('layer.weight')
})
