import { displayWidth } from './text.ts'

/** The column that what continues a line stands at, where its beginning shows no better one. */
const INDENT = 2

/** Writes lines for people: those that are wider than the terminal go on in the next, between words. */
export function print(lines: readonly string[], stream: NodeJS.WriteStream = process.stdout): void {
  const columns = columnsOf(stream)
  stream.write(`${lines.flatMap((text) => text.split('\n').flatMap((line) => foldLine(line, columns))).join('\n')}\n`)
}

/** The width of a terminal; of anything else what COLUMNS says, if it says something, since files and pipes have none. */
function columnsOf(stream: NodeJS.WriteStream): number {
  if (stream.isTTY) return stream.columns || Number.POSITIVE_INFINITY
  const columns = Number(process.env['COLUMNS'])
  return Number.isSafeInteger(columns) && columns > 0 ? columns : Number.POSITIVE_INFINITY
}

/** A line as lines of so many columns; a word that is wider stays whole, so that it can be copied. */
export function foldLine(line: string, columns: number): string[] {
  if (displayWidth(line) <= columns) return [line]
  const indent = ' '.repeat(indentOf(line, columns))
  const [first = '', ...rest] = line.split(/(?<=\S)( +)(?=\S)/)
  const folded: string[] = []
  let current = first
  for (let at = 0; at < rest.length; at += 2) {
    const [gap, word] = [rest[at]!, rest[at + 1]!]
    const longer = current + gap + word
    if (displayWidth(longer) <= columns) {
      current = longer
    } else {
      folded.push(current)
      current = indent + word
    }
  }
  return [...folded, current]
}

/** Below what comes after the first gap, which is where a table or a list of facts has its second column. */
function indentOf(line: string, columns: number): number {
  const start = /^ */.exec(line)![0].length
  const label = /^ *\S+(?: \S+)* {2,}(?=\S)/.exec(line)?.[0]
  const width = label === undefined ? 0 : displayWidth(label)
  return width > start && width <= columns / 2 ? width : Math.min(start + INDENT, columns / 2)
}
