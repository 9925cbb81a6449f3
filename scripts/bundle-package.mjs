// @ts-check
// Puts what `tsc` wrote into one file for each entry, for publishing: a thread or a process that attaches spends most of its
// time on finding, compiling and linking modules. The other rooms stay outside, so that there is one instance of each class,
// whoever imports it; small packages of others come in, with their licences beside them.
import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { rolldown } from 'rolldown'
import { licencesOf } from './licences.mjs'

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

/** Piscina finds files of its own by their place. */
const external = [/^node:/, /^@onecopy\//, /^piscina$/]

// Entries that only pass on a part of what the main entry has. It imports them, so that they hold that part themselves;
// else each would be a file that only points to another.
const main = join(dist, 'index.js')
const parts = entries.filter((path) => path !== main && isPart(readFileSync(path, 'utf8')))
const importParts = {
  name: 'import-parts',
  /** @param {string} code @param {string} id */
  transform: (code, id) =>
    id === main ? `${parts.map((part) => `import './${basename(part)}'\n`).join('')}${code}` : null,
}

/** @param {string} code */
function isPart(code) {
  return /^(?:export \{[^}]*\} from '\.\/[^']+';\s*(?:\/\/.*\s*)?)+$/.test(code)
}

/**
 * Importing a module of Node makes a second module around it, in every thread; asking for it does not. Line by line, so that
 * the source map stays right.
 *
 * @param {string} code
 */
function askForBuiltins(code) {
  return code.replace(
    /^import \{([^}]*)\} from "(node:[^"]+)";$/gm,
    (_, names, name) => `const {${names.replaceAll(' as ', ': ')}} = process.getBuiltinModule("${name}");`,
  )
}

/**
 * @param {readonly string[]} input
 * @param {import('rolldown').RolldownOptions} [options]
 */
async function write(input, options) {
  const built = await rolldown({
    input: [...input],
    platform: 'node',
    external,
    preserveEntrySignatures: 'allow-extension',
    ...options,
  })
  const { output } = await built.write({
    dir: bundle,
    format: 'esm',
    sourcemap: true,
    comments: { legal: true, annotation: true, jsdoc: false },
  })
  await built.close()
  return output.flatMap((file) => (file.type === 'chunk' ? file : []))
}

rmSync(bundle, { recursive: true, force: true })
const chunks = await write(entries, {
  treeshake: { moduleSideEffects: (id) => parts.includes(id) || undefined },
  plugins: [importParts],
})
// Apart from the entries, which a file in common with a thread would split in two.
if (modules.length > 0) chunks.push(...(await write(modules.map((module) => join(dist, module)))))
for (const { fileName, code } of chunks) writeFileSync(join(bundle, fileName), askForBuiltins(code))
for (const script of scripts) copyFileSync(join(dist, script), join(bundle, script))
const licences = licencesOf(chunks.flatMap(({ moduleIds }) => moduleIds))
if (licences !== '') writeFileSync(join(bundle, 'THIRD-PARTY-LICENSES.txt'), licences)

const missing = [...entries, ...modules, ...scripts]
  .map((path) => basename(path))
  .filter((name) => !existsSync(join(bundle, name)))
if (missing.length > 0) {
  throw new Error(
    `The bundle of ${manifest.name} lacks ${missing.join(', ')}; it has ${readdirSync(bundle).join(', ')}`,
  )
}
