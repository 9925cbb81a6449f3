// @ts-check
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isMain } from './is-main.mjs'
import { readWorkspace } from './read-workspace.mjs'
import { tokenize } from './typescript-tokens.mjs'

const CODE = /^[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+$/
const PAGE = 'docs/errors.md'

/**
 * @typedef {object} Result
 * @property {string[]} problems one line each; empty when source and page agree
 * @property {number} files how many src/errors.ts were read
 * @property {number} codes how many error codes they declare
 */

/**
 * Checks that every error code a package declares is used and has its entry in docs/errors.md, and that every entry
 * belongs to a code.
 *
 * @param {string} root the workspace's directory
 * @returns {Result}
 */
export function checkErrors(root) {
  /** @type {Map<string, string>} code → the file that declares it */
  const declared = new Map()
  /** @type {Set<string>} */
  const used = new Set()
  let files = 0
  for (const { folder, directory, sources } of readWorkspace(root)) {
    const declaration = join(directory, 'src', 'errors.ts')
    for (const path of sources) {
      const tokens = tokenize(readFileSync(path, 'utf8'))
      if (path !== declaration) {
        for (const [index, { kind, text }] of tokens.entries()) {
          // A literal, or a member of an object of codes: `codes.SHARD_NOT_FOUND`.
          if (CODE.test(text) && (kind === 'string' || tokens[index - 1]?.text === '.')) used.add(text)
        }
        continue
      }
      files += 1
      const here = new Set()
      for (const { kind, text } of tokens) {
        if (kind !== 'string' || !CODE.test(text)) continue
        // The first time is the declaration; after that errors.ts itself makes an error with it.
        if (here.has(text)) used.add(text)
        here.add(text)
        declared.set(text, `packages/${folder}/src/errors.ts`)
      }
    }
  }

  /** @type {string[]} */
  const problems = []
  if (files === 0) problems.push(`Found no packages/*/src/errors.ts in ${root}: nothing was checked`)
  else if (declared.size === 0)
    problems.push('Found no error code in any packages/*/src/errors.ts: nothing was checked')

  const page = join(root, PAGE)
  const entries = existsSync(page) ? headings(readFileSync(page, 'utf8')) : []
  if (!existsSync(page)) problems.push(`${PAGE} does not exist; every error code needs its entry "### \`CODE\`" there`)
  for (const [code, file] of declared) {
    if (existsSync(page) && !entries.some((entry) => entry.code === code)) {
      problems.push(`${file}: ${code} has no entry in ${PAGE}; add one under the heading "### \`${code}\`"`)
    }
    if (!used.has(code)) problems.push(`${file}: ${code} is used nowhere; throw it or remove it here and in ${PAGE}`)
  }
  for (const [index, { code, line }] of entries.entries()) {
    if (!declared.has(code))
      problems.push(`${PAGE}:${line}: ${code} is declared by no packages/*/src/errors.ts; remove the entry`)
    const first = entries.findIndex((entry) => entry.code === code)
    if (first !== index)
      problems.push(`${PAGE}:${line}: ${code} has a second entry, the first is on line ${entries[first]?.line}`)
  }
  return { problems, files, codes: declared.size }
}

/** @param {string} markdown */
function headings(markdown) {
  let fenced = false
  return markdown.split(/\r?\n/).flatMap((text, index) => {
    if (/^\s*(?:```|~~~)/.test(text)) fenced = !fenced
    const code = fenced ? undefined : /^### `([^`]+)`\s*$/.exec(text)?.[1]
    return code === undefined ? [] : [{ code, line: index + 1 }]
  })
}

if (isMain(import.meta.url)) {
  const { problems, files, codes } = checkErrors(fileURLToPath(new URL('..', import.meta.url)))
  for (const problem of problems) console.error(problem)
  console.log(`checked ${codes} error codes of ${files} files against ${PAGE}: ${problems.length} problems`)
  if (problems.length > 0) process.exitCode = 1
}
