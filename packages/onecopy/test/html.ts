const VOID = new Set(['meta', 'br'])

/** Throws where a page's elements are not closed in order, an attribute is not quoted, or a character not escaped. */
export function assertWellFormed(page: string): void {
  if (!page.startsWith('<!doctype html>\n')) throw new TypeError('The page has no doctype')
  const body = page.slice('<!doctype html>\n'.length).replace(/<style>[^<]*<\/style>/g, '')
  const open: string[] = []
  let at = 0
  for (const tag of body.matchAll(/<(\/?)([a-z][a-z0-9]*)((?: [a-z-]+="[^"<>]*")*)>/g)) {
    assertText(body.slice(at, tag.index))
    at = tag.index + tag[0].length
    const name = tag[2]!
    if (tag[1] === '/') {
      const last = open.pop()
      if (last !== name) throw new TypeError(`</${name}> closes <${last}>`)
    } else if (!VOID.has(name)) open.push(name)
  }
  assertText(body.slice(at))
  if (open.length > 0) throw new TypeError(`<${open.join('>, <')}> not closed`)
}

function assertText(text: string): void {
  if (/[<>]|&(?!(?:amp|lt|gt|quot|#39);)/.test(text)) throw new TypeError(`Not escaped: ${text}`)
}
