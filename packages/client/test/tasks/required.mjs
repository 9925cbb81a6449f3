import { createHash } from 'node:crypto'

/** @param {string} text */
export default function hash(text) {
  return createHash('sha256').update(text).digest('hex')
}
