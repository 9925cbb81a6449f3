import { quoteName } from '@onecopy/safetensors'
import stringWidth from 'string-width'
import { printable } from './printable.ts'

/** Names longer than this are cut, in UTF-16 code units; a hostile one may have a hundred million. */
const MAX_SHOWN_NAME = 1000

/** A name from a file as tables show it: as it is where that cannot be misread, else quoted and escaped. */
export function displayName(name: string): string {
  if (/^[\w.\-/:]{1,1000}$/.test(name)) return name
  const plain = name.length <= MAX_SHOWN_NAME && name !== '' && name.trim() === name && !/["\\]/.test(name)
  return plain && printable(name) === name ? name : printable(quoteName(name, MAX_SHOWN_NAME))
}

/** Columns that a text takes in a terminal: 2 for each East Asian wide character, 0 for a combining one. */
export function displayWidth(text: string): number {
  return /^[ -~]*$/.test(text) ? text.length : stringWidth(text)
}

/**
 * An object as JSON for people and programs: a line for each member, and for each element of a member that is an array,
 * without a character that a terminal would obey.
 */
export function printableJson(value: object): string {
  const members = Object.entries(value).map(([key, member]) => `  ${jsonText(key)}: ${memberText(member)}`)
  return `{\n${members.join(',\n')}\n}`
}

function memberText(member: unknown): string {
  if (!Array.isArray(member) || member.length === 0) return jsonText(member)
  return `[\n${member.map((element) => `    ${jsonText(element)}`).join(',\n')}\n  ]`
}

function jsonText(value: unknown): string {
  // JSON has escaped C0 already; whatever is left can only stand inside a string, where an escape means the same.
  return printable(JSON.stringify(value))
}
