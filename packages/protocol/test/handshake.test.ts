import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { checkAgreed } from '../src/handshake.ts'
import { agreeOnProtocol, OLDEST_PROTOCOL, PROTOCOL, ProtocolError, SOFTWARE } from '../src/index.ts'

describe('agreeOnProtocol', () => {
  it('chooses the newest version that both speak', () => {
    expect(agreeOnProtocol({ protocol: PROTOCOL, oldestProtocol: OLDEST_PROTOCOL })).toBe(PROTOCOL)
    expect(agreeOnProtocol({ protocol: PROTOCOL + 5, oldestProtocol: OLDEST_PROTOCOL })).toBe(PROTOCOL)
  })

  it('names both versions, and who is to be updated, when there is none', () => {
    const tooNew = agreeOnProtocol({ protocol: 9, oldestProtocol: 7 })
    expect(tooNew).toBeInstanceOf(ProtocolError)
    expect(tooNew).toMatchObject({
      code: 'PROTOCOL_VERSION_MISMATCH',
      message: expect.stringMatching(/speaks protocol version 1, the client versions 7 to 9: update the coordinator/),
      coordinatorProtocols: { oldest: 1, newest: 1 },
      clientProtocols: { oldest: 7, newest: 9 },
    })
    expect(agreeOnProtocol({ protocol: 0, oldestProtocol: 0 })).toMatchObject({
      message: expect.stringMatching(/the client version 0: update the client/),
    })
  })

  it('finds none when a client contradicts itself', () => {
    expect(agreeOnProtocol({ protocol: 1, oldestProtocol: 2 })).toBeInstanceOf(ProtocolError)
  })
})

describe('checkAgreed', () => {
  it('refuses a version that this client never offered', () => {
    expect(checkAgreed(PROTOCOL)).toBeNull()
    expect(checkAgreed(PROTOCOL + 1)).toMatchObject({ code: 'PROTOCOL_VERSION_MISMATCH' })
    expect(checkAgreed(OLDEST_PROTOCOL - 1)).toMatchObject({ code: 'PROTOCOL_VERSION_MISMATCH' })
  })
})

describe('SOFTWARE', () => {
  it('is the version of the package that is published', () => {
    const { version } = JSON.parse(readFileSync(new URL('../../onecopy/package.json', import.meta.url), 'utf8'))
    expect(SOFTWARE).toBe(`onecopy ${version}`)
  })
})
