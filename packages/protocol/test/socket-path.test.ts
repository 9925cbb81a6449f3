import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { defaultSocketPath } from '../src/index.ts'

describe('defaultSocketPath', () => {
  it('is what the environment says, else a place of this user alone', () => {
    const XDG_RUNTIME_DIR = '/run/user/7'
    expect(defaultSocketPath({ ONECOPY_SOCKET: '/x/y.sock', XDG_RUNTIME_DIR })).toBe('/x/y.sock')
    expect(defaultSocketPath({ XDG_RUNTIME_DIR })).toBe('/run/user/7/onecopy/onecopy.sock')
    expect(defaultSocketPath({ ONECOPY_SOCKET: '' })).toBe(
      join(tmpdir(), `onecopy-${process.getuid?.()}`, 'onecopy.sock'),
    )
  })
})
