/** What sets text apart; each function gives the text back as it is where the output shows no colours. */
export interface Style {
  readonly bold: (text: string) => string
  readonly dim: (text: string) => string
  readonly good: (text: string) => string
  readonly bad: (text: string) => string
}

/** The style that a stream can show: none unless it is a terminal, and none under NO_COLOR. */
export function styleOf(stream: NodeJS.WriteStream): Style {
  const colours = stream.isTTY === true && stream.hasColors()
  const sgr = (on: number, off: number) => (text: string) => (colours ? `\u001b[${on}m${text}\u001b[${off}m` : text)
  return { bold: sgr(1, 22), dim: sgr(2, 22), good: sgr(32, 39), bad: sgr(31, 39) }
}
