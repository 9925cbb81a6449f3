import type { GlobStep } from './glob.ts'

/** Where a glob's numbers begin in a name that it matches; -1 for a number that it does not have. */
export interface GlobMatch {
  readonly layerAt: number
  readonly expertAt: number
}

/** Digits of the longest number that JavaScript can tell from its neighbours whatever they are. */
export const MAX_NUMBER_DIGITS = 15

/**
 * Makes a function that matches whole names. It tries one way after the other, the shortest run first, and never comes
 * to the same step at the same place twice: at most as many moves as steps times characters, whatever the name.
 */
export function globMatcher(steps: readonly GlobStep[]): (name: string) => GlobMatch | null {
  const texts = textsOf(steps)
  const ending = texts.at(-1)?.place === steps.length - 1 ? texts.pop()!.text : ''
  const choices = steps.filter(({ kind }) => kind === 'run' || kind === 'fork').length
  let tried = new Uint8Array(0)

  return (name) => {
    // Most names fail here, for next to nothing.
    if (!name.endsWith(ending) || !texts.every(({ text }) => name.includes(text))) return null
    // With one choice alone no two ways meet.
    if (choices <= 1) return findWay(steps, name, null)
    const states = steps.length * (name.length + 1)
    if (tried.length < states) tried = new Uint8Array(states)
    else tried.fill(0, 0, states)
    return findWay(steps, name, tried)
  }
}

/**
 * Follows the steps through a name, one way after the other.
 *
 * @param tried a mark for each choice at each place of the name, so that no way goes on from where another has failed
 */
function findWay(steps: readonly GlobStep[], name: string, tried: Uint8Array | null): GlobMatch | null {
  const todo: number[] = [0, 0, -1, -1] // the ways that are left, as four numbers each: they are many, and short-lived
  while (todo.length > 0) {
    let expertAt = todo.pop()!
    let layerAt = todo.pop()!
    let at = todo.pop()!
    let place = todo.pop()!
    for (;;) {
      const step = steps[place]
      if (step === undefined) {
        if (at === name.length) return { layerAt, expertAt }
        break
      }
      if (step.kind === 'text') {
        if (!name.startsWith(step.text, at)) break
        at += step.text.length
        place++
      } else if (step.kind === 'jump') {
        place = step.target
      } else if (step.kind === 'one') {
        if (at === name.length) break
        at += name.codePointAt(at)! > 0xffff ? 2 : 1
        place++
      } else if (step.kind === 'number') {
        const end = endOfNumber(name, at)
        if (end === -1) break
        if (step.capture === 'layer') layerAt = at
        else expertAt = at
        at = end
        place++
      } else {
        if (tried !== null) {
          const state = place * (name.length + 1) + at
          if (tried[state] === 1) break
          tried[state] = 1
        }
        if (step.kind === 'run') {
          if (at < name.length && (step.dots || name[at] !== '.')) todo.push(place, at + 1, layerAt, expertAt)
          place++
        } else {
          for (let other = step.targets.length - 1; other > 0; other--) {
            todo.push(step.targets[other]!, at, layerAt, expertAt)
          }
          place = step.targets[0]!
        }
      }
    }
  }
  return null
}

/** The texts that every way to the end goes through, and where: those outside of braces. */
function textsOf(steps: readonly GlobStep[]): { readonly text: string; readonly place: number }[] {
  const texts: { text: string; place: number }[] = []
  let joinedAt = 0 // the end of the braces that were opened last
  for (const [place, step] of steps.entries()) {
    if (step.kind === 'fork') joinedAt = step.end
    if (step.kind === 'text' && place >= joinedAt) texts.push({ text: step.text, place })
  }
  return texts
}

/** Where the number that begins here ends; -1 when none begins: there are no digits, or they go on to the left. */
function endOfNumber(name: string, begin: number): number {
  if (begin > 0 && isDigit(name, begin - 1)) return -1
  let end = begin
  while (isDigit(name, end) && end - begin <= MAX_NUMBER_DIGITS) end++
  return end > begin && end - begin <= MAX_NUMBER_DIGITS ? end : -1
}

function isDigit(name: string, at: number): boolean {
  const code = name.charCodeAt(at) // NaN behind the end
  return code >= 0x30 && code <= 0x39
}
