import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeBody, encodeBody } from '../src/body.ts'
import { encodeFrame, MAX_FRAME_BYTES } from '../src/frame.ts'
import {
  type ClientMessage,
  descriptorCountOf,
  MAX_SELECTION_BYTES,
  MAX_SHARDS,
  MAX_WAIT_MS,
  type Message,
  ProtocolError,
} from '../src/index.ts'
import { clientMessage, coordinatorMessage } from '../src/messages.ts'
import type { Check } from '../src/schema.ts'
import { CLIENT_MESSAGES, COORDINATOR_MESSAGES, STATUS } from './support.ts'

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
      else if (key === 'arenas') expect(check(rest, '')).toEqual({ ...message, arenas: [] })
      else if (key === 'residency') expect(check(rest, '')).toEqual({ ...message, residency: false })
      else if (key === 'loading') expect(check(rest, '')).toEqual({ ...message, loading: 0 })
      else if (!['version', 'selection', 'result'].includes(key)) expect(() => check(rest, '')).toThrow(ProtocolError)
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

describe('a selection', () => {
  const acquire = { type: 'acquire', id: 1, checkpoint: 'x', version: null, waitMs: 0 }

  it('is text of at most 7 MiB, which fits into a frame whatever its characters are', () => {
    const longest = { ...acquire, selection: 'é'.repeat(MAX_SELECTION_BYTES / 2) } as ClientMessage
    expect(clientMessage(decodeBody(encodeBody(longest)), '')).toEqual(longest)
    expect(encodeFrame(encodeBody(longest), 0).byteLength).toBeLessThan(MAX_FRAME_BYTES)
    for (const selection of [`${'é'.repeat(MAX_SELECTION_BYTES / 2)}x`, 'x'.repeat(MAX_SELECTION_BYTES + 1)]) {
      const tooLong = { code: 'MESSAGE_INVALID', field: 'selection', limit: MAX_SELECTION_BYTES }
      expect(() => clientMessage({ ...acquire, selection }, '')).toThrow(expect.objectContaining(tooLong))
    }
  })

  it.each([[{ tensors: [] }], [[]], [1], [true], [new Uint8Array(2)]])('is not %j', (selection) => {
    expect(() => clientMessage({ ...acquire, selection }, '')).toThrow(/selection is .* must be a string/)
  })

  it('is absent in what older clients send, as arenas are in what older coordinators and clients send', () => {
    expect(clientMessage(acquire, '')).toEqual({ ...acquire, selection: null })
    const versions = [{ version: 1, state: 'ready', fingerprint: 'f', byteLength: 9, heldBytes: 9, residentBytes: 9 }]
    const counts = { shards: 1, tensors: 1, leases: 0, since: '', changed: false }
    const checkpoint = { name: 'x', source: '/x', backing: 'file', pinned: false }
    const checkpoints = [{ ...checkpoint, versions: versions.map((facts) => ({ ...facts, ...counts })) }]
    const message = coordinatorMessage({ type: 'status', id: 1, status: { ...STATUS, checkpoints } }, '')
    expect(message).toMatchObject({ status: { checkpoints: [{ versions: [{ arenaBytes: 0 }] }] } })
  })
})

describe('arenas', () => {
  const granted = COORDINATOR_MESSAGES.find(({ type }) => type === 'granted')!
  const resume = CLIENT_MESSAGES.find(({ type }) => type === 'resume')!

  it.each([
    [null, /arenas is null, it must be a list/],
    [{}, /arenas is a map, it must be a list/],
    [[{}], /arenas\[0\]\.name is missing/],
    [[{ name: 'a', byteLength: -1 }], /arenas\[0\]\.byteLength is -1/],
    [[{ name: 'a'.repeat(4097), byteLength: 1 }], /arenas\[0\]\.name is longer than 4096 bytes/],
    [Array(MAX_SHARDS + 1).fill({ name: 'a', byteLength: 1 }), /arenas is a list of 4096/],
  ])('are not %j', (arenas, message) => {
    expect(() => coordinatorMessage({ ...granted, arenas }, '')).toThrow(message)
    expect(() => clientMessage({ ...resume, arenas }, '')).toThrow(message)
  })
})

describe('descriptorCountOf', () => {
  it('counts the directory, the shards and the arenas of what is granted and of sealed memory that is offered', () => {
    const counts = [...CLIENT_MESSAGES, ...COORDINATOR_MESSAGES]
      .map((message) => [message.type, descriptorCountOf(message)] as const)
      .filter(([, count]) => count > 0)
    expect(counts).toEqual([
      ['resume', 3],
      ['resume', 4],
      ['resume', 1],
      ['granted', 3],
      ['granted', 4],
      ['granted', 4],
      ['granted', 1],
    ])
  })
})
