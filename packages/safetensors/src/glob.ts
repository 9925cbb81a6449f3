/** Numbers that a glob may remember. */
const CAPTURES = ['layer', 'expert'] as const

/** What a glob remembers. */
export type Capture = (typeof CAPTURES)[number]

/** A glob that matches just this text. */
export function escapeGlob(text: string): string {
  return text.replace(/[\\?{}*]/g, '\\$&')
}

/** A glob for a module, by its name, and everything in it. */
export function moduleGlob(name: string): string {
  return `${escapeGlob(name)}{,.**}`
}

/** What is wrong with a glob; whoever knows where the glob stands says so. */
export class GlobError extends Error {
  override readonly name = 'GlobError'
}

/** One step of a glob on its way through a name. */
export type GlobStep =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'one' } // one character
  | { readonly kind: 'run'; readonly dots: boolean } // any number of characters
  | { readonly kind: 'number'; readonly capture: Capture }
  /** Ways to go on, the first that leads to the end; all of them meet again at `end`. */
  | { readonly kind: 'fork'; readonly targets: readonly number[]; readonly end: number }
  | { readonly kind: 'jump'; readonly target: number }

/**
 * Takes a glob apart into steps, the last of which has to end where the name ends. There is one language for all globs of
 * tensor names: `*` is any run of characters without a dot, `**` any run at all, `?` one character, `{a,b}` either,
 * `{layer}` and `{expert}` a number that is remembered, and a backslash takes the next character as it is.
 *
 * @throws GlobError for braces that nest or do not close, for a `{word}` that is none of the numbers or comes twice, and
 * for two numbers or a number and a digit side by side, which no name has
 */
export function parseGlob(glob: string): readonly GlobStep[] {
  const parser = new GlobParser(glob)
  parser.parseUntil('')
  refuseNeighbours(parser.steps)
  return parser.steps
}

/** A place in a glob, and the steps up to there. */
class GlobParser {
  readonly steps: GlobStep[] = []
  readonly #glob: string
  readonly #seen = new Set<Capture>()
  #at = 0

  constructor(glob: string) {
    this.#glob = glob
  }

  /** Steps up to the end or to one of the stops, which is left for the caller; there are stops inside of braces only. */
  parseUntil(stops: string): void {
    const glob = this.#glob
    let text = ''
    const flush = () => {
      if (text !== '') this.steps.push({ kind: 'text', text })
      text = ''
    }
    for (; this.#at < glob.length && !stops.includes(glob[this.#at]!); this.#at++) {
      const character = glob[this.#at]!
      if (character === '\\') {
        this.#at++
        if (this.#at === glob.length) throw new GlobError('ends in a backslash, which must have a character behind it')
        text += glob[this.#at]
      } else if (character === '*') {
        flush()
        const dots = glob[this.#at + 1] === '*'
        while (glob[this.#at + 1] === '*') this.#at++
        this.steps.push({ kind: 'run', dots })
      } else if (character === '?') {
        flush()
        this.steps.push({ kind: 'one' })
      } else if (character === '{') {
        if (stops !== '') throw new GlobError('has braces inside braces, which must stand side by side')
        flush()
        this.#parseBraces()
      } else if (character === '}') {
        const hint = 'a brace that is meant as such needs a backslash'
        throw new GlobError(`has a closing brace without an opening one; ${hint}`)
      } else text += character
    }
    flush()
  }

  /** From an opening brace to its closing one, and no further. */
  #parseBraces(): void {
    const glob = this.#glob
    const open = this.#at++
    const word = /^\{([^{},\\*?]*)\}/.exec(glob.slice(open, open + 100))?.[1]
    if (word !== undefined) {
      this.steps.push({ kind: 'number', capture: captureOf(word, this.#seen) })
      this.#at = open + word.length + 1
      return
    }
    const fork = this.steps.length
    const targets: number[] = []
    const jumps: number[] = []
    this.steps.push({ kind: 'fork', targets, end: 0 }) // the end is filled in below
    for (;;) {
      targets.push(this.steps.length)
      this.parseUntil(',}')
      if (this.#at === glob.length) throw new GlobError('has an opening brace without a closing one')
      if (glob[this.#at] === '}') break
      this.#at++
      jumps.push(this.steps.length)
      this.steps.push({ kind: 'jump', target: 0 })
    }
    this.steps[fork] = { kind: 'fork', targets, end: this.steps.length }
    for (const jump of jumps) this.steps[jump] = { kind: 'jump', target: this.steps.length }
  }
}

/** A number stands for all digits in a row, so that no digit can be beside it. */
function refuseNeighbours(steps: readonly GlobStep[]): void {
  for (const [place, step] of steps.entries()) {
    if (step.kind !== 'number') continue
    const before = steps[place - 1]
    const after = steps[place + 1]
    const digits =
      (before?.kind === 'text' && /\d$/.test(before.text)) || (after?.kind === 'text' && /^\d/.test(after.text))
    if (!digits && after?.kind !== 'number') continue
    throw new GlobError(`has digits next to {${step.capture}}, which already stands for all digits in a row`)
  }
}

function captureOf(word: string, seen: Set<Capture>): Capture {
  const capture = CAPTURES.find((known) => known === word)
  if (capture === undefined) {
    const rule = 'only {layer} and {expert} stand for numbers, and a single choice needs no braces'
    throw new GlobError(`has {${word}}, but ${rule}`)
  }
  if (seen.has(capture)) throw new GlobError(`has {${word}} twice, which must come once at most`)
  seen.add(capture)
  return capture
}
