/**
 * What parts of a checkpoint are made with. It is half of the code of a checkpoint, and most threads and processes that adopt one
 * never need it.
 */
export type SelectionTools = typeof import('./selection-tools.ts')

let tools: SelectionTools | null = null

/** For whoever has loaded them anyway. */
export function provideSelectionTools(loaded: SelectionTools): void {
  tools = loaded
}

/** Loads what selecting needs, once. */
export async function loadSelecting(): Promise<SelectionTools> {
  tools ??= await import('./selection-tools.ts')
  return tools
}

/** What selecting needs, or null as long as nobody has loaded it: then `loadSelecting` does. */
export function loadedSelectionTools(): SelectionTools | null {
  return tools
}

/** What selecting needs, for those who cannot wait: the package's main entry and `loadSelecting` bring it. */
export function requireSelectionTools(): SelectionTools {
  if (tools === null) throw new TypeError('What selecting needs is not loaded; wait for loadSelecting() before')
  return tools
}
