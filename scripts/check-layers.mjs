// @ts-check
import { existsSync, readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { basename, dirname, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isMain } from './is-main.mjs'
import { readWorkspace, walk } from './read-workspace.mjs'
import { findImports, findOtherThanExports } from './typescript-imports.mjs'
import { tokenize } from './typescript-tokens.mjs'

/** @typedef {import('./read-workspace.mjs').WorkspacePackage} WorkspacePackage */

// The house: a room imports from the rooms named behind it, and these are always on a lower floor. An arrow is not
// passed on: who needs a room below the one it may use draws that arrow here, where everybody sees it.
/** @type {Readonly<Record<string, { floor: number, mayUse: readonly string[], pure?: true }>>} */
const HOUSE = {
  onecopy: {
    floor: 4,
    mayUse: [
      'cluster',
      'coordinator',
      'client',
      'onnxruntime',
      'checkpoint',
      'placement',
      'protocol',
      'safetensors',
      'sharedarraybuffer-utils',
    ],
  },
  cluster: { floor: 3, mayUse: ['coordinator', 'placement'] },
  coordinator: { floor: 2, mayUse: ['protocol', 'checkpoint', 'sharedarraybuffer-utils'] },
  client: { floor: 2, mayUse: ['protocol', 'checkpoint', 'sharedarraybuffer-utils'] },
  onnxruntime: { floor: 2, mayUse: ['checkpoint'] },
  checkpoint: { floor: 1, mayUse: ['safetensors', 'sharedarraybuffer-utils'] },
  // Pure: no input or output, so not one node: module.
  placement: { floor: 1, mayUse: ['safetensors'], pure: true },
  protocol: { floor: 1, mayUse: ['sharedarraybuffer-utils'] },
  safetensors: { floor: 0, mayUse: [], pure: true },
  'sharedarraybuffer-utils': { floor: 0, mayUse: [] },
}

// A room is named after what it holds; under one of these names it would come to hold everything.
const REFUSED_NAME = /(?:^|-)(?:utils|common|core|shared|types)$/
const NAME_EXCEPTION = 'sharedarraybuffer-utils'

const BUILTINS = new Set(builtinModules)

/**
 * @typedef {object} Result
 * @property {string[]} problems one line each; empty when the house stands as drawn
 * @property {number} packages how many were checked, like `files` and `imports`
 * @property {number} files
 * @property {number} imports
 */

/**
 * Checks the arrows of the house: manifests, imports, project references, names, and the index files.
 *
 * @param {string} root the workspace's directory
 * @returns {Result}
 */
export function checkLayers(root) {
  const packages = readWorkspace(root)
  /** @type {Result} */
  const result = { problems: checkTable(), packages: packages.length, files: 0, imports: 0 }
  for (const member of packages) {
    if (HOUSE[member.folder] === undefined) {
      result.problems.push(
        `packages/${member.folder} is not in the table of rooms: give it a floor and its arrows in scripts/check-layers.mjs`,
      )
    }
    if (member.sources.length === 0)
      result.problems.push(`packages/${member.folder}/src has no TypeScript file to check`)
    result.problems.push(
      ...checkNames(root, member),
      ...checkManifest(member),
      ...checkReferences(member),
      ...member.sources.flatMap((path) => checkSource(root, member, path, result)),
    )
  }
  if (result.packages === 0) result.problems.push(`Found no package in ${join(root, 'packages')}: nothing was checked`)
  else if (result.files === 0) result.problems.push('Found no source file in any package: nothing was checked')
  else if (result.imports === 0) result.problems.push('Found no import in any source file: nothing was checked')
  return result
}

function checkTable() {
  return Object.entries(HOUSE).flatMap(([room, { floor, mayUse }]) =>
    mayUse
      .filter((other) => (HOUSE[other]?.floor ?? Number.POSITIVE_INFINITY) >= floor)
      .map((other) => `The table of rooms has an arrow ${room} → ${other} that does not go down`),
  )
}

/** @param {string} room */
function packageName(room) {
  return room === 'onecopy' ? room : `@onecopy/${room}`
}

/**
 * The room that a package name belongs to, or null for packages from elsewhere.
 *
 * @param {string} name
 */
function roomOf(name) {
  if (name === 'onecopy') return name
  return name.startsWith('@onecopy/') ? name.slice('@onecopy/'.length) : null
}

/**
 * @param {string} from
 * @param {string} to
 */
function refusal(from, to) {
  const allowed = HOUSE[from]?.mayUse ?? []
  if (allowed.includes(to)) return null
  return `${from} → ${to} is not an arrow of the house; ${from} may use ${allowed.join(', ') || 'no other room'}`
}

/**
 * @param {string} root
 * @param {WorkspacePackage} member
 */
function checkNames(root, member) {
  const folders = walk(member.directory).filter((entry) => entry.isDirectory)
  return [{ path: member.directory, name: member.folder }, ...folders]
    .filter(({ name }) => REFUSED_NAME.test(name) && name !== NAME_EXCEPTION)
    .map(
      ({ path, name }) =>
        `${relative(root, path)}: no package or folder is called "${name}"; name it after what it holds, and let what two rooms need live on a lower floor`,
    )
}

/** @param {WorkspacePackage} member */
function checkManifest({ folder, manifest }) {
  const problems = []
  if (manifest.name !== packageName(folder)) {
    problems.push(
      `packages/${folder}/package.json: the name is "${manifest.name}", it must be "${packageName(folder)}" like its folder`,
    )
  }
  // Optional and peer dependencies are arrows as well.
  const all = { ...manifest.dependencies, ...manifest.optionalDependencies, ...manifest.peerDependencies }
  for (const name of Object.keys(all)) {
    const room = roomOf(name)
    const refused = room === null ? null : refusal(folder, room)
    if (refused !== null) problems.push(`packages/${folder}/package.json: ${refused}`)
  }
  return problems
}

/** @param {WorkspacePackage} member */
function checkReferences({ folder, directory, manifest }) {
  const file = `packages/${folder}/tsconfig.json`
  const path = join(directory, 'tsconfig.json')
  if (!existsSync(path)) return [`${file} does not exist; the build needs it`]
  /** @type {{ references?: { path: string }[] }} */
  let config
  try {
    config = JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    return [`${file} cannot be read as JSON without comments: ${error instanceof Error ? error.message : error}`]
  }
  const referenced = new Set(
    (config.references ?? []).map((reference) =>
      basename(resolve(directory, reference.path.replace(/\/tsconfig\.json$/, ''))),
    ),
  )
  const used = new Set(
    Object.keys(manifest.dependencies ?? {}).flatMap((name) => {
      const room = roomOf(name)
      return room === null ? [] : [room]
    }),
  )
  return [
    ...[...used]
      .filter((room) => !referenced.has(room))
      .map(
        (room) =>
          `${file}: package.json depends on ${packageName(room)}, so references must have { "path": "../${room}" }`,
      ),
    ...[...referenced]
      .filter((room) => !used.has(room))
      .map(
        (room) => `${file}: references has ../${room}, so dependencies in package.json must have ${packageName(room)}`,
      ),
  ]
}

/**
 * @param {string} root
 * @param {WorkspacePackage} member
 * @param {string} path
 * @param {Result} result its counts grow
 */
function checkSource(root, member, path, result) {
  const tokens = tokenize(readFileSync(path, 'utf8'))
  const file = relative(root, path)
  const problems = []
  result.files += 1
  for (const { specifier, line, kind } of findImports(tokens)) {
    result.imports += 1
    const problem = isRelative(specifier)
      ? // A file that is only located, such as the built addon, may lie beside src.
        kind === 'module' && leaves(join(member.directory, 'src'), path, specifier)
      : checkBareSpecifier(member, specifier)
    if (problem) problems.push(`${file}:${line}: ${problem}`)
  }
  if (basename(path) === 'index.ts') {
    for (const { message, line } of findOtherThanExports(tokens)) {
      problems.push(
        `${file}:${line}: ${message}; an index.ts is a table of "export { … } from" and "export type { … } from"`,
      )
    }
  }
  return problems
}

/** @param {string} specifier */
function isRelative(specifier) {
  return specifier.startsWith('.') || specifier.startsWith('/')
}

/**
 * @param {string} source the package's src
 * @param {string} path of the importing file
 * @param {string} specifier
 */
function leaves(source, path, specifier) {
  if (resolve(dirname(path), specifier).startsWith(source + sep)) return null
  return `import of "${specifier}" leaves the package's src; import another room by its package name`
}

/**
 * @param {WorkspacePackage} member
 * @param {string} specifier
 */
function checkBareSpecifier({ folder, manifest }, specifier) {
  const builtin = specifier.replace(/^node:/, '')
  if (specifier.startsWith('node:') || BUILTINS.has(builtin)) {
    if (HOUSE[folder]?.pure) return `import of "${specifier}": ${folder} is pure, it imports no module of Node`
    return specifier.startsWith('node:') ? null : `import of "${specifier}": write it as "node:${specifier}"`
  }
  const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')
  const room = roomOf(name)
  if (room !== null) {
    const refused = refusal(folder, room)
    if (refused !== null) return `import of "${specifier}": ${refused}`
    if (manifest.dependencies?.[name] !== undefined) return null
    return `import of "${specifier}": ${name} is not in dependencies; add "${name}": "workspace:*" to package.json`
  }
  const declared = { ...manifest.dependencies, ...manifest.optionalDependencies, ...manifest.peerDependencies }
  if (declared[name] !== undefined) return null
  return `import of "${specifier}": ${name} is not in dependencies; run: pnpm --filter ${packageName(folder)} add ${name}`
}

if (isMain(import.meta.url)) {
  const { problems, packages, files, imports } = checkLayers(fileURLToPath(new URL('..', import.meta.url)))
  for (const problem of problems) console.error(problem)
  console.log(`checked ${packages} packages, ${files} files, ${imports} imports: ${problems.length} problems`)
  if (problems.length > 0) process.exitCode = 1
}
