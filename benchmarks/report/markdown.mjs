// @ts-check

/**
 * @param {readonly string[]} heads
 * @param {readonly (readonly string[])[]} rows
 * @returns {string}
 */
export function table(heads, rows) {
  const line = (/** @type {readonly string[]} */ cells) => `| ${cells.map(cellOf).join(' | ')} |`
  return [line(heads), `| ${heads.map(() => '---').join(' | ')} |`, ...rows.map(line)].join('\n')
}

/** What stands behind a click when it is long. */
/** @param {string} title @param {string} text */
export function folded(title, text) {
  return `<details><summary>${title}</summary>\n\n${text}\n\n</details>`
}

/** @param {readonly string[]} lines */
export function list(lines) {
  return lines.map((line) => `- ${line}`).join('\n')
}

/** A cell is one line, and a bar in it is no border. */
/** @param {string} text */
function cellOf(text) {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ').trim()
}
