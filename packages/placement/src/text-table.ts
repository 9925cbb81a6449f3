/** A column's title, and whether its entries are names, to the left, or figures, to the right. */
export type Column = readonly [title: string, side: 'left' | 'right']

/** Rows below the titles, each column as wide as its widest entry. */
export function tableText(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const all = [columns.map(([title]) => title), ...rows]
  const widths = columns.map((_, at) => all.reduce((width, row) => Math.max(width, row[at]!.length), 0))
  return all
    .map((row) => {
      const cells = columns.map(([, side], at) => {
        return side === 'right' ? row[at]!.padStart(widths[at]!) : row[at]!.padEnd(widths[at]!)
      })
      return cells.join('  ').trimEnd()
    })
    .join('\n')
}
