import { rules } from '@onecopy/checkpoint'
import { MAX_NAME_BYTES } from '@onecopy/protocol'

type Rule = (typeof rules)['text']

export const BUDGET: Rule = {
  must: 'a whole number of bytes, 0 or more, or null for no limit',
  isKind: (value) => value === null || typeof value === 'number',
  isWithin: (value: number | null) => value === null || (Number.isSafeInteger(value) && value >= 0),
}

export const SOURCE: Rule = {
  must: 'a path, hf:org/name, a file: URL, or a list of paths',
  isKind: (value) => typeof value === 'string' || value instanceof URL || rules.listOf(rules.text).isKind(value),
}

export const PUBLISH_OPTIONS: Readonly<Record<string, Rule>> = {
  backing: rules.oneOf('file', 'sealed'),
  pinned: rules.flag,
  load: rules.oneOf('now', 'on-demand'),
  priority: rules.wholeNumber(0),
  signal: rules.signal,
}

/** What goes to every client as the reason of an end. */
export const REASON: Rule = {
  must: `a text of at most ${MAX_NAME_BYTES} bytes`,
  isKind: (value) => typeof value === 'string',
  isWithin: (value: string) => Buffer.byteLength(value) <= MAX_NAME_BYTES,
}
