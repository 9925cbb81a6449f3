/** A run of any characters, or a test of one character (a UTF-16 code unit). */
type Token = '*' | ((character: string) => boolean)

/**
 * A test for whole tensor names: `*` is any run of characters, `?` one, `[abc]` and `[0-9]` one of those, `[!abc]` one of
 * the others, `{a,b}` either (not nested), a backslash takes the next character as it is. Takes time in proportion to
 * name × glob at most, whatever the name: a regular expression would hang on some.
 */
export function globMatcher(glob: string): (name: string) => boolean {
  const alternatives = alternativesOf(glob)
  return (name) => alternatives.some((tokens) => matches(tokens, name))
}

function alternativesOf(glob: string): Token[][] {
  let alternatives: Token[][] = [[]]
  for (let at = 0; at < glob.length; at++) {
    const character = glob[at]!
    const rest = glob.slice(at)
    const set = character === '[' ? /^\[(!?)(\]?[^\]]+|\])\]/.exec(rest) : null
    const choice = character === '{' ? /^\{([^}]*)\}/.exec(rest) : null
    const special = set ?? choice
    if (special !== null) at += special[0].length - 1
    if (choice !== null) {
      const choices = choice[1]!.split(',').flatMap(alternativesOf)
      alternatives = alternatives.flatMap((before) => choices.map((tokens) => [...before, ...tokens]))
      continue
    }
    let token: Token
    if (set !== null) token = setOf(set[2]!, set[1] === '!')
    else if (character === '*') token = '*'
    else if (character === '?') token = () => true
    else token = literal(character === '\\' && at + 1 < glob.length ? glob[++at]! : character)
    for (const tokens of alternatives) tokens.push(token)
  }
  return alternatives
}

function literal(wanted: string): Token {
  return (character) => character === wanted
}

function setOf(members: string, inverted: boolean): Token {
  const ranges = [...members.matchAll(/(.)-(.)|(.)/gs)].map(([, from, to, single]) => [from ?? single!, to ?? single!])
  return (character) => ranges.some(([from, to]) => from! <= character && character <= to!) !== inverted
}

/** Goes back to the last star only: that is enough, because an earlier one could not match more than it would. */
function matches(tokens: readonly Token[], name: string): boolean {
  let next = 0
  let star = -1
  let resume = 0
  for (let at = 0; at < name.length; ) {
    const token = tokens[next]
    if (token === '*') {
      star = next++
      resume = at
    } else if (token?.(name[at]!)) {
      next++
      at++
    } else if (star >= 0) {
      next = star + 1
      at = ++resume
    } else {
      return false
    }
  }
  while (tokens[next] === '*') next++
  return next === tokens.length
}
