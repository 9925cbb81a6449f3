// @ts-check
/** @typedef {import('./typescript-tokens.mjs').Token} Token */

/**
 * @typedef {object} Import
 * @property {string} specifier
 * @property {number} line counted from 1
 * @property {'module' | 'resolve'} kind `resolve`: the path of a file, by require or import.meta.resolve
 */

/**
 * Every module that a file names: import, import(), import type, export from, require() and import.meta.resolve().
 * Calls whose argument is no literal name no module.
 *
 * @param {readonly Token[]} tokens
 * @returns {Import[]}
 */
export function findImports(tokens) {
  /** @type {Import[]} */
  const found = []
  /** @param {Token | undefined} token @param {Import['kind']} kind */
  const add = (token, kind) => {
    if (token !== undefined && (token.kind === 'string' || token.kind === 'template')) {
      found.push({ specifier: token.text, line: token.line, kind })
    }
  }
  for (const [index, token] of tokens.entries()) {
    if (token.kind !== 'word' || tokens[index - 1]?.text === '.') continue
    if (token.text === 'import') {
      const next = tokens[index + 1]
      if (next?.text === '(') addCall(index + 1, 'module')
      else if (textOf(index + 1, 5) === '.meta.resolve(') addCall(index + 5, 'resolve')
      else if (next?.kind === 'string') add(next, 'module')
      else add(fromClause(tokens, index + 1), 'module')
    } else if (token.text === 'export') {
      add(fromClause(tokens, index + 1), 'module')
    } else if (token.text === 'require') {
      if (tokens[index + 1]?.text === '(') addCall(index + 1, 'resolve')
      else if (textOf(index + 1, 3) === '.resolve(') addCall(index + 3, 'resolve')
    }
  }
  return found

  /** @param {number} start @param {number} count */
  function textOf(start, count) {
    return tokens
      .slice(start, start + count)
      .map((token) => token.text)
      .join('')
  }

  /** @param {number} open where the parenthesis stands @param {Import['kind']} kind */
  function addCall(open, kind) {
    // A template or string that goes on (`./${name}`, './' + name) is no literal argument.
    if ([')', ','].includes(tokens[open + 2]?.text ?? '')) add(tokens[open + 1], kind)
  }
}

/**
 * The string after `from`, where the tokens from `index` on are an import or export clause.
 *
 * @param {readonly Token[]} tokens
 * @param {number} index
 * @returns {Token | undefined}
 */
function fromClause(tokens, index) {
  for (let at = index; at < tokens.length; at += 1) {
    const token = tokens[at]
    if (token?.text === 'from' && tokens[at + 1]?.kind === 'string') return tokens[at + 1]
    const inClause =
      token?.kind === 'word' || token?.kind === 'string' || ['{', '}', ',', '*'].includes(token?.text ?? '')
    if (!inClause) return undefined
  }
  return undefined
}

/**
 * What keeps a file from being an export table: anything but `export { … }`, `export type { … }` and both with `from`.
 *
 * @param {readonly Token[]} tokens
 * @returns {{ message: string, line: number }[]}
 */
export function findOtherThanExports(tokens) {
  /** @type {{ message: string, line: number }[]} */
  const problems = []
  let index = 0
  while (index < tokens.length) {
    const start = tokens[index]
    if (start === undefined) break
    if (start.text === ';') {
      index += 1
      continue
    }
    let at = index + 1
    if (tokens[at]?.text === 'type') at += 1
    const opening = tokens[at]?.text
    if (start.text !== 'export' || (opening !== '{' && opening !== '*')) {
      const text = [start, tokens[index + 1]].map((token) => token?.text ?? '').join(' ')
      problems.push({ message: `"${text.trim()} …" is not an export list`, line: start.line })
      // Where that statement ends is not known here, and one such line is enough to say.
      return problems
    }
    if (opening === '*') {
      problems.push({ message: '"export *" hides what is exported', line: start.line })
      while (at < tokens.length && tokens[at]?.kind !== 'string') at += 1
      index = at + 1
      continue
    }
    while (at < tokens.length && tokens[at]?.text !== '}') at += 1
    index = tokens[at + 1]?.text === 'from' ? at + 3 : at + 1
  }
  return problems
}
