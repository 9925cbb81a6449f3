/** A text as one word of a shell's command line: somebody will paste the command, and the text may come from a stranger. */
export function shellWord(text: string): string {
  return /^[\w./@:+,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}
