// @ts-check
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * @typedef {object} Manifest
 * @property {string} [name]
 * @property {Record<string, string>} [dependencies]
 * @property {Record<string, string>} [optionalDependencies]
 * @property {Record<string, string>} [peerDependencies]
 */

/**
 * @typedef {object} WorkspacePackage
 * @property {string} folder its name under packages/
 * @property {string} directory
 * @property {Manifest} manifest
 * @property {readonly string[]} sources the paths of src/**\/*.ts, and of their relatives .mts, .cts and .tsx
 */

const NOT_OURS = new Set(['node_modules', 'dist', 'build', 'prebuilds'])

/**
 * The packages under packages/. A folder with neither package.json nor src is what a deleted package left behind.
 *
 * @param {string} root
 * @returns {WorkspacePackage[]}
 */
export function readWorkspace(root) {
  const packages = join(root, 'packages')
  if (!existsSync(packages)) return []
  return readdirSync(packages, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => ({ name, directory: join(packages, name) }))
    .filter(({ directory }) => existsSync(join(directory, 'package.json')) || existsSync(join(directory, 'src')))
    .map(({ name, directory }) => {
      const manifest = join(directory, 'package.json')
      return {
        folder: name,
        directory,
        manifest: existsSync(manifest) ? JSON.parse(readFileSync(manifest, 'utf8')) : {},
        sources: walk(join(directory, 'src'))
          .filter((entry) => !entry.isDirectory && /\.[mc]?tsx?$/.test(entry.path))
          .map((entry) => entry.path),
      }
    })
    .sort((a, b) => (a.folder < b.folder ? -1 : 1))
}

/**
 * Everything below a directory that people write; what is installed or built is left out.
 *
 * @param {string} directory
 * @returns {{ path: string, name: string, isDirectory: boolean }[]}
 */
export function walk(directory) {
  if (!existsSync(directory)) return []
  return readdirSync(directory, { withFileTypes: true })
    .filter((entry) => !NOT_OURS.has(entry.name) && !entry.name.startsWith('.'))
    .flatMap((entry) => {
      const path = join(directory, entry.name)
      const found = { path, name: entry.name, isDirectory: entry.isDirectory() }
      return found.isDirectory ? [found, ...walk(path)] : [found]
    })
}
