import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeBody, encodeBody } from '../src/body.ts'
import { descriptorCountOf, MAX_WAIT_MS, type Message, ProtocolError } from '../src/index.ts'
import { clientMessage, coordinatorMessage } from '../src/messages.ts'
import type { Check } from '../src/schema.ts'
import { CLIENT_MESSAGES, COORDINATOR_MESSAGES } from './support.ts'

const sides: readonly [string, Check<Message>, readonly Message[]][] = [
  ['client', clientMessage, CLIENT_MESSAGES],
  ['coordinator', coordinatorMessage, COORDINATOR_MESSAGES],
]

describe.each(sides)('messages of a %s', (_, check, messages) => {
  it.each(messages.map((message) => [message.type, message]))('%s survives the wire', (_type, message) => {
    expect(check(decodeBody(encodeBody(message)), '')).toEqual(message)
  })

  it.each(messages.map((message) => [message.type, message]))('%s ignores unknown fields', (_type, message) => {
    const more = { ...message, future: [{ deep: true }], [Symbol.iterator]: 1 }
    expect(check(decodeBody(encodeBody(more)), '')).toEqual(message)
  })

  it.each(messages.map((message) => [message.type, message]))('%s needs each of its fields', (_type, message) => {
    for (const key of Object.keys(message).filter((each) => each !== 'type')) {
      const { [key]: removed, ...rest } = message as unknown as Record<string, unknown>
      // An absent field that may be null reads as null: that is how later versions add some.
      if (removed === null) expect(check(rest, '')).toEqual(message)
      else if (!['version', 'result'].includes(key)) expect(() => check(rest, '')).toThrow(ProtocolError)
    }
  })

  it('refuses anything else with a ProtocolError, and never takes a wrong type for a right one', () => {
    const keys = fc.constantFrom('type', 'id', 'checkpoint', 'version', 'shards', 'error', 'status', 'source')
    const types = fc.constantFrom(...messages.map((message) => message.type))
    const value = fc.oneof(fc.anything(), types)
    fc.assert(
      fc.property(fc.constantFrom(...messages), keys, value, (message, key, wrong) => {
        try {
          check({ ...message, [key]: wrong }, '')
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError)
          expect(error).toMatchObject({ code: 'MESSAGE_INVALID' })
        }
      }),
      { numRuns: 500 },
    )
  })
})

describe('the other direction', () => {
  it('a coordinator does not take what only coordinators say, nor a client what only clients say', () => {
    for (const message of COORDINATOR_MESSAGES.filter(({ type }) => type !== 'status')) {
      expect(() => clientMessage(message, '')).toThrow(/type is/)
    }
    for (const message of CLIENT_MESSAGES.filter(({ type }) => type !== 'status')) {
      expect(() => coordinatorMessage(message, '')).toThrow(/type is/)
    }
  })
})

describe('acquire', () => {
  it('waits no longer than a timer can', () => {
    const acquire = { type: 'acquire', id: 1, checkpoint: 'x', version: null }
    expect(clientMessage({ ...acquire, waitMs: Number.MAX_SAFE_INTEGER }, '')).toMatchObject({ waitMs: MAX_WAIT_MS })
    expect(() => clientMessage({ ...acquire, waitMs: Number.POSITIVE_INFINITY }, '')).toThrow(/waitMs is Infinity/)
  })
})

describe('descriptorCountOf', () => {
  it('counts the directory and the shards of what is granted and of sealed memory that is offered', () => {
    const counts = [...CLIENT_MESSAGES, ...COORDINATOR_MESSAGES]
      .map((message) => [message.type, descriptorCountOf(message)] as const)
      .filter(([, count]) => count > 0)
    expect(counts).toEqual([
      ['resume', 3],
      ['granted', 3],
      ['granted', 1],
    ])
  })
})
