// @ts-check
// Enough of TypeScript's lexical grammar to tell code from comments, strings, templates and regular expressions.
// TypeScript 7 has no JavaScript interface that could be asked instead.

/**
 * @typedef {object} Token
 * @property {'word' | 'string' | 'template' | 'regexp' | 'punctuation'} kind
 * @property {string} text the source text; of a string and a template, what stands between the quotes
 * @property {number} line counted from 1
 */

// A slash after one of these begins a regular expression; after any other word it divides.
const WORDS_BEFORE_EXPRESSION = new Set(
  'await case delete do else extends in instanceof new of return throw typeof void yield'.split(' '),
)

const SPACE = /\s+/y
const LINE_COMMENT = /\/\/[^\n\r\u2028\u2029]*|^#![^\n]*/y
const BLOCK_COMMENT = /\/\*[\s\S]*?(?:\*\/|$)/y
const WORD = /[\p{ID_Continue}$#@]+/uy
// An unclosed string ends with its line: one misread quote must not swallow the rest of the file.
const STRING = /'((?:[^'\\\n]|\\[\s\S])*)(?:'|$|(?=\n))|"((?:[^"\\\n]|\\[\s\S])*)(?:"|$|(?=\n))/y
const REGEXP = /\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/\w*/y
const TEMPLATE_TEXT = /(?:[^`\\$]|\\[\s\S]|\$(?!\{))*/y

/**
 * @param {string} source
 * @returns {Token[]}
 */
export function tokenize(source) {
  /** @type {Token[]} */
  const tokens = []
  // One entry for each template that is open around the current position: the depth of braces inside its `${ }`.
  /** @type {number[]} */
  const templates = []
  let position = 0
  let line = 1

  /** @param {RegExp} pattern */
  const take = (pattern) => {
    pattern.lastIndex = position
    const match = pattern.exec(source)
    if (match === null) return null
    position += match[0].length
    return match
  }
  /** @param {Token['kind']} kind @param {string} text */
  const push = (kind, text) => tokens.push({ kind, text, line })
  /** @param {string} text */
  const countLines = (text) => {
    line += text.split('\n').length - 1
  }
  const takeTemplateText = () => {
    const text = take(TEMPLATE_TEXT)?.[0] ?? ''
    push('template', text)
    countLines(text)
    if (source[position] === '`') {
      position += 1
    } else if (position < source.length) {
      position += '${'.length
      templates.push(0)
    }
  }

  while (position < source.length) {
    const skipped = take(SPACE) ?? take(LINE_COMMENT) ?? take(BLOCK_COMMENT)
    if (skipped !== null) {
      countLines(skipped[0])
      continue
    }
    const string = take(STRING)
    if (string !== null) {
      push('string', string[1] ?? string[2] ?? '')
      countLines(string[0])
      continue
    }
    const word = take(WORD)
    if (word !== null) {
      push('word', word[0])
      continue
    }
    const regexp = source[position] === '/' && beginsExpression(tokens) ? take(REGEXP) : null
    if (regexp !== null) {
      push('regexp', regexp[0])
      continue
    }
    const character = String.fromCodePoint(source.codePointAt(position) ?? 0)
    if (character === '`') {
      position += 1
      takeTemplateText()
      continue
    }
    const depth = templates.at(-1)
    if (character === '}' && depth === 0) {
      templates.pop()
      position += 1
      takeTemplateText()
      continue
    }
    if (depth !== undefined && character === '{') templates[templates.length - 1] = depth + 1
    if (depth !== undefined && character === '}') templates[templates.length - 1] = depth - 1
    const text = source.startsWith('...', position) ? '...' : character
    push('punctuation', text)
    position += text.length
  }
  return tokens
}

/** @param {readonly Token[]} tokens those before the slash */
function beginsExpression(tokens) {
  const last = tokens.at(-1)
  if (last === undefined) return true
  if (last.kind === 'word') return WORDS_BEFORE_EXPRESSION.has(last.text) && tokens.at(-2)?.text !== '.'
  return last.kind === 'punctuation' && ![')', ']', '}'].includes(last.text)
}
