import { describe, expect, it } from 'vitest'
import { Access } from '../src/access.ts'

const own = process.geteuid?.() ?? 0
const peer = (uid: number, gid = 1, groups: number[] = []) => ({ pid: 1, uid, gid, groups })

describe('Access', () => {
  it('makes publishers of root and its own user, and of those it is told', () => {
    const access = new Access({ allowedUids: [10, 12], allowedGids: [20], publisherUids: [12], publisherGids: [21] })
    for (const who of [peer(0), peer(own), peer(12), peer(10, 21), peer(5, 1, [3, 21])]) {
      expect(access.roleOf(who)).toBe('publisher')
    }
    for (const who of [peer(10), peer(5, 20), peer(5, 1, [20, 3])]) expect(access.roleOf(who)).toBe('reader')
    for (const who of [peer(5), peer(20), peer(5, 10)]) expect(access.roleOf(who)).toBeNull()
  })

  it('lets the members of the socket’s group read, beside other groups', () => {
    const access = new Access({ socketGroup: 30, allowedGids: [31] })
    expect([peer(5, 30), peer(5, 31), peer(5, 32)].map((who) => access.roleOf(who))).toEqual(['reader', 'reader', null])
  })

  it('knows when a socket need be open to one group alone', () => {
    expect(new Access({ socketGroup: 30 }).onlyGroup).toBe(30)
    expect(new Access({ socketGroup: 30, publisherGids: [30], allowedUids: [own, 0] }).onlyGroup).toBe(30)
    for (const options of [{}, { allowedGids: [30] }, { socketGroup: 30, allowedUids: [own + 1] }]) {
      expect(new Access(options).onlyGroup).toBeNull()
    }
    expect(new Access({ socketGroup: 30, allowedGids: [31] }).onlyGroup).toBeNull()
  })
})
