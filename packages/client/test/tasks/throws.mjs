// Throws what the tests of errors ask for; runs in the threads, so it is plain JavaScript on the built packages.
import { readFileSync } from 'node:fs'
import { runInNewContext } from 'node:vm'
import { SafetensorsError } from '@onecopy/checkpoint'
import { weights } from '@onecopy/client/worker'
import { CoordinatorError, ProtocolError } from '@onecopy/protocol'
import { SharedMemoryError } from '@onecopy/sharedarraybuffer-utils'

class LicenceError extends RangeError {
  code = 'NO_LICENCE'
  seats = new Map([['left', 0n]])
  /** @override */
  get name() {
    return 'LicenceError'
  }
}

/** @param {object} fields */
const withFields = (fields) => Object.assign(new Error('odd'), fields)

/** @type {Record<string, () => unknown>} */
const things = {
  null: () => null,
  undefined: () => undefined,
  text: () => 'text',
  zero: () => 0,
  object: () => ({ a: 1 }),
  function: () => function named() {},
  symbol: () => Symbol('mark'),
  'a proxy that cannot be read': () =>
    new Proxy(
      {},
      {
        getPrototypeOf: () => {
          throw new Error('no')
        },
      },
    ),
  CheckpointError: () => {
    try {
      return weights().tensor('t00')
    } catch (error) {
      return error
    }
  },
  SafetensorsError: () => {
    const details = { found: 2n ** 60n }
    return new SafetensorsError('SAFETENSORS_INVALID_OFFSET', 'bad', { tensor: 't', path: '/m', details })
  },
  SharedMemoryError: () => new SharedMemoryError('LOCK_LIMIT', 'bad', { errno: 12, errnoName: 'ENOMEM' }),
  CoordinatorError: () => new CoordinatorError('BUDGET_EXCEEDED', 'bad', { holders: [], cause: new TypeError('why') }),
  ProtocolError: () => new ProtocolError('FRAME_TOO_LARGE', 'bad', { actual: 5, limit: 4 }),
  "somebody else's ClientError": () => Object.assign(new Error('bad'), { name: 'ClientError', code: 'HTTP_500' }),
  'a class of its own': () => new LicenceError('no licence', { cause: new TypeError('why', { cause: 'text' }) }),
  AggregateError: () => new AggregateError([new RangeError('one'), 2], 'all'),
  DOMException: () => new DOMException('enough', 'AbortError'),
  'an error of the system': () => {
    try {
      return readFileSync('/nonexistent/file')
    } catch (error) {
      return error
    }
  },
  'an error of another realm': () => runInNewContext("Object.assign(new TypeError('far'), { code: 'FAR' })"),
  'a field that cannot be cloned': () => withFields({ code: 'ODD', callback: () => {}, kept: [1] }),
  'a getter that throws': () => {
    const error = withFields({ code: 'ODD' })
    const get = () => {
      throw new Error('no')
    }
    for (const key of ['stack', 'message', 'field']) Object.defineProperty(error, key, { get, enumerable: true })
    return error
  },
  'a getter that throws the second time': () => {
    let reads = 0
    const get = () => {
      if (reads++ > 0) throw new Error('no')
      return 'once'
    }
    return withFields({ code: 'ODD', field: Object.defineProperty({}, 'once', { get, enumerable: true }) })
  },
  'a ring of causes': () => {
    const inner = new Error('inner')
    return Object.assign(inner, { cause: new Error('outer', { cause: inner }) })
  },
  'an endless chain of causes': () => {
    let error = new Error('deepest')
    for (let depth = 0; depth < 100_000; depth++) error = new Error('deep', { cause: error })
    return error
  },
}

/** @param {string} what @returns {never} */
export default function fail(what) {
  throw things[what]?.()
}

/** @param {string} what */
export async function rejectLater(what) {
  await null
  throw things[what]?.()
}

/** @type {Record<string, () => unknown>} */
const results = {
  'a function': () => () => {},
  'an object with a function': () => ({ deep: [{ callback: () => {} }] }),
  'a symbol': () => Symbol('mark'),
  'a getter that throws': () => ({
    get value() {
      throw new RangeError('no value')
    },
  }),
}

/** @param {string} what */
export function answer(what) {
  return results[what]?.()
}

/** Ends the thread. @param {string} what */
export function throwInTimer(what) {
  setTimeout(() => fail(what), 1)
  return new Promise(() => {})
}

/** @param {string} what */
export function rejectUnhandled(what) {
  void rejectLater(what)
  return new Promise(() => {})
}

/** @returns {never} */
export function overflow() {
  return overflow()
}
