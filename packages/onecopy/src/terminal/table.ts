import { displayWidth } from './text.ts'

/** A column of a table. */
export interface Column {
  readonly title: string
  /** Numbers stand to the right, so that their digits do. @default `left` */
  readonly align?: 'left' | 'right'
}

/** Beyond this a cell pushes the rest of its row to the right instead of every row; in terminal columns. */
const MAX_PADDED_WIDTH = 72

const GAP = '  '

/** A table as lines, the title row first; every cell must be printable already. */
export function tableLines(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  titleStyle: (line: string) => string = (line) => line,
): string[] {
  const widths = columns.map(({ title }) => displayWidth(title))
  // The cells' widths are kept: measuring is what a table of 90,000 rows would spend its time on.
  const cellWidths = rows.map((row) =>
    row.map((cell, column) => {
      const width = displayWidth(cell)
      if (width > widths[column]! && width <= MAX_PADDED_WIDTH) widths[column] = width
      return width
    }),
  )
  const line = (cells: readonly string[], own: readonly number[]): string => {
    const padded = cells.map((cell, column) => {
      const padding = ' '.repeat(Math.max(0, widths[column]! - own[column]!))
      return columns[column]!.align === 'right' ? padding + cell : cell + padding
    })
    return padded.join(GAP).trimEnd()
  }
  const titles = columns.map(({ title }) => title)
  return [titleStyle(line(titles, titles.map(displayWidth))), ...rows.map((row, at) => line(row, cellWidths[at]!))]
}

/** Lines `label  text`, the texts aligned. */
export function factLines(
  facts: readonly (readonly [label: string, text: string])[],
  labelStyle: (label: string) => string = (label) => label,
): string[] {
  let width = 0
  for (const [label] of facts) width = Math.max(width, Math.min(displayWidth(label), MAX_PADDED_WIDTH))
  return facts.map(([label, text]) => {
    const padding = ' '.repeat(Math.max(0, width - displayWidth(label)))
    return `${labelStyle(label)}${padding}${GAP}${text}`
  })
}
