import type { Selection } from '@onecopy/checkpoint'
import { MAX_SELECTION_BYTES } from '@onecopy/protocol'
import { describe, expect, it } from 'vitest'
import { selectionText } from '../src/selection-text.ts'

describe('selectionText()', () => {
  it('is the selection as JSON', () => {
    const selection = { tensors: [{ name: 'ü', ranges: [[0, 1]] }] } as const
    expect(JSON.parse(selectionText(selection))).toEqual(selection)
  })

  it('refuses what has more bytes than can be sent, and takes exactly as many', () => {
    const name = 'ü'.repeat((MAX_SELECTION_BYTES - Buffer.byteLength('{"tensors":[{"name":""}]}') - 1) / 2)
    expect(Buffer.byteLength(selectionText({ tensors: [{ name: `${name}x` }] }))).toBe(MAX_SELECTION_BYTES)
    expect(() => selectionText({ tensors: [{ name: `${name}xx` }] })).toThrow(RangeError)
  })

  it.each([undefined, () => {}, Symbol('x'), { tensors: 1n }])('refuses %s, which is no data', (nonsense) => {
    expect(() => selectionText(nonsense as unknown as Selection)).toThrow(TypeError)
  })
})
