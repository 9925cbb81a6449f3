import { nearest } from './nearest.ts'

/** Numbers that a glob may remember. */
const CAPTURES = ['layer', 'expert'] as const

/** What a glob remembers. */
export type Capture = (typeof CAPTURES)[number]

/** What is wrong with a glob; whoever knows where the glob stands says so. */
export class GlobError extends Error {
  override readonly name = 'GlobError'
  readonly candidates: readonly string[]

  constructor(message: string, candidates: readonly string[] = []) {
    super(message)
    this.candidates = candidates
  }
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
 * Takes a glob apart into steps, the last of which has to end where the name ends. The language is that of `Pattern`.
 *
 * @throws GlobError for braces that nest or do not close, for a `{word}` that is none of the numbers or comes twice, and
 * for two numbers or a number and a digit side by side, which no name has
 */
export function parseGlob(glob: string): readonly GlobStep[] {
  const steps: GlobStep[] = []
  const seen = new Set<Capture>()
  let at = 0

  /** Steps up to the end or to one of the stops, which is left for the caller. */
  function parseUntil(stops: string): void {
    let text = ''
    const flush = () => {
      if (text !== '') steps.push({ kind: 'text', text })
      text = ''
    }
    for (; at < glob.length && !stops.includes(glob[at]!); at++) {
      const character = glob[at]!
      if (character === '\\') {
        if (++at === glob.length) throw new GlobError('ends in a backslash, which must have a character behind it')
        text += glob[at]
      } else if (character === '*') {
        flush()
        const dots = glob[at + 1] === '*'
        while (glob[at + 1] === '*') at++
        steps.push({ kind: 'run', dots })
      } else if (character === '?') {
        flush()
        steps.push({ kind: 'one' })
      } else if (character === '{') {
        if (stops !== '') throw new GlobError('has braces inside braces, which must stand side by side')
        flush()
        parseBraces()
      } else if (character === '}') {
        throw new GlobError(
          'has a closing brace without an opening one; a brace that is meant as such needs a backslash',
        )
      } else text += character
    }
    flush()
  }

  /** From an opening brace to its closing one. */
  function parseBraces(): void {
    const open = at++
    const word = /^\{([^{},\\*?]*)\}/.exec(glob.slice(open, open + 100))?.[1]
    if (word !== undefined) {
      steps.push({ kind: 'number', capture: captureOf(word, seen) })
      at = open + word.length + 1
      return
    }
    const fork = steps.length
    const targets: number[] = []
    const jumps: number[] = []
    steps.push({ kind: 'fork', targets, end: 0 }) // the end is filled in below
    for (;;) {
      targets.push(steps.length)
      parseUntil(',}')
      if (at === glob.length) throw new GlobError('has an opening brace without a closing one')
      if (glob[at] === '}') break
      at++
      jumps.push(steps.length)
      steps.push({ kind: 'jump', target: 0 })
    }
    steps[fork] = { kind: 'fork', targets, end: steps.length }
    for (const jump of jumps) steps[jump] = { kind: 'jump', target: steps.length }
  }

  parseUntil('')
  for (const [place, step] of steps.entries()) {
    if (step.kind !== 'number') continue
    const before = steps[place - 1]
    const after = steps[place + 1]
    const digits =
      (before?.kind === 'text' && /\d$/.test(before.text)) || (after?.kind === 'text' && /^\d/.test(after.text))
    if (!digits && after?.kind !== 'number') continue
    throw new GlobError(`has digits next to {${step.capture}}, which already stands for all digits in a row`)
  }
  return steps
}

function captureOf(word: string, seen: Set<Capture>): Capture {
  const capture = CAPTURES.find((known) => known === word)
  if (capture === undefined) {
    const candidates = nearest(word, CAPTURES)
    const hint = candidates.length === 0 ? 'a single choice needs no braces' : `nearest: {${candidates.join('}, {')}}`
    throw new GlobError(`has {${word}}, but only {layer} and {expert} stand for numbers; ${hint}`, candidates)
  }
  if (seen.has(capture)) throw new GlobError(`has {${word}} twice, which must come once at most`)
  seen.add(capture)
  return capture
}
