// @ts-check
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/**
 * The licences of the packages that modules belong to, as one text for publishing beside them; empty when all are ours.
 *
 * @param {readonly string[]} modules paths of files
 */
export function licencesOf(modules) {
  const folders = new Set(modules.filter((path) => path.includes('/node_modules/')).map((path) => packageOf(path)))
  return [...folders]
    .map((folder) => licenceOf(folder))
    .sort()
    .join(`\n${'-'.repeat(80)}\n\n`)
}

/** @param {string} path of a module */
function packageOf(path) {
  for (let folder = dirname(path); folder !== dirname(folder); folder = dirname(folder)) {
    const manifest = join(folder, 'package.json')
    // Folders inside a package may have a package.json that says only which kind of modules they hold.
    if (existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).name !== undefined) return folder
  }
  throw new Error(`${path} belongs to no package; its licence is not known`)
}

/** @param {string} folder of a package */
function licenceOf(folder) {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const file = readdirSync(folder).find((each) => /^licen[cs]e(?:\.\w+)?$/i.test(each))
  if (file === undefined) throw new Error(`${name} ${version} has no file with its licence; it cannot be bundled`)
  return `${name} ${version} (${license})\n\n${readFileSync(join(folder, file), 'utf8').trim()}\n`
}
