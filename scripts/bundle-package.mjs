// @ts-check
// Puts what `tsc` wrote into one file for each entry, for publishing: a process that attaches spends most of its time on
// resolving modules, and a tenth of the files is a third of that time. Other packages stay outside, so that there is one
// instance of each class, whoever imports it.
import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { rolldown } from 'rolldown'

const folder = process.cwd()
const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
const dist = join(folder, 'dist')
const bundle = join(folder, 'bundle')

/** CommonJS that is found by its place, not by an import: it stays as it is, and so does what it imports by place. */
const scripts = readdirSync(dist).filter((name) => name.endsWith('.cjs'))
const modules = scripts.flatMap((name) =>
  [...readFileSync(join(dist, name), 'utf8').matchAll(/import\('\.\/([\w-]+\.js)'\)/g)].map(
    ([, module]) => module ?? '',
  ),
)
const exported = Object.values(manifest.exports).flatMap(
  (/** @type {{ default?: string }} */ entry) => entry.default ?? [],
)
const entries = exported.filter((path) => path.startsWith('./dist/')).map((path) => join(folder, path))

rmSync(bundle, { recursive: true, force: true })
const external = [/^node:/, ...Object.keys(manifest.dependencies ?? {}).map((name) => new RegExp(`^${name}(?:/|$)`))]
const built = await rolldown({
  input: [...entries, ...modules.map((module) => join(dist, module))],
  platform: 'node',
  external,
})
await built.write({ dir: bundle, format: 'esm', sourcemap: true })
await built.close()
for (const script of scripts) copyFileSync(join(dist, script), join(bundle, script))

const missing = [...entries, ...modules, ...scripts]
  .map((path) => basename(path))
  .filter((name) => !existsSync(join(bundle, name)))
if (missing.length > 0) {
  throw new Error(
    `The bundle of ${manifest.name} lacks ${missing.join(', ')}; it has ${readdirSync(bundle).join(', ')}`,
  )
}
