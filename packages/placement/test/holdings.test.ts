import { expect, test } from 'vitest'
import { checkHoldings, Holdings } from '../src/holdings.ts'
import type { Shaped } from '../src/shaped.ts'
import type { Host } from '../src/topology.ts'
import { thrownBy } from './plans.ts'

const w = { name: 'w', dtype: 'F32', shape: [4, 6] } as const
const rows = (begin: number, end: number) => [[begin, end] as const]
const heldBytes = (holdings: Holdings, tensor: Shaped, ranges: ReturnType<typeof rows>, host: number) => {
  const { held, bytes } = holdings.of(tensor)
  return bytes.common([ranges], held.get(host) ?? [])
}
const topologyOf = (...holds: NonNullable<Host['holds']>[]) => {
  return { hosts: holds.map((list, at) => ({ name: `h${at}`, holds: list })), workers: [] }
}

test('Holdings counts what a host has of a part, each byte once', () => {
  const holdings = new Holdings(
    topologyOf(
      [{ name: 'w', ranges: rows(0, 2) }, { name: 'w', ranges: rows(1, 3) }, { name: 'x' }],
      [{ name: 'w' }],
      [{ name: 'x' }],
    ),
  )
  expect([...holdings.of(w).held.keys()]).toEqual([0, 1])
  const held = (begin: number, end: number) => [0, 1, 2].map((host) => heldBytes(holdings, w, rows(begin, end), host))
  expect(held(0, 4)).toEqual([72, 96, 0])
  expect(held(2, 4)).toEqual([24, 48, 0])
  expect(held(3, 4)).toEqual([0, 24, 0])
  expect(holdings.of({ ...w, name: 'y' }).held.size).toBe(0)
  expect(holdings.empty).toBe(false)
  expect(new Holdings(topologyOf([], [])).empty).toBe(true)
})

test('Holdings remembers by type and shape, not by ranges alone', () => {
  const shared = rows(0, 2)
  const holdings = new Holdings(topologyOf([{ name: 'w' }, { name: 'v' }]))
  const v = { name: 'v', dtype: 'U8', shape: [4, 10] } as const
  expect(heldBytes(holdings, w, shared, 0)).toBe(48)
  expect(heldBytes(holdings, v, shared, 0)).toBe(20)
  expect(heldBytes(holdings, w, shared, 0)).toBe(48)
})

test('checkHoldings() refuses ranges that the tensor does not have, and lets other names be', () => {
  checkHoldings(topologyOf([{ name: 'gone', ranges: rows(0, 99) }, { name: 'w', ranges: rows(0, 4) }, { name: 'w' }]), [
    w,
  ])
  const refuse = (ranges: readonly (readonly [number, number])[]) => {
    return thrownBy(() => checkHoldings(topologyOf([], [{ name: 'w' }, { name: 'w', ranges }]), [w]))
  }
  expect(refuse(rows(0, 5))).toMatchObject({
    code: 'TOPOLOGY_INVALID',
    host: 'h1',
    tensor: 'w',
    field: 'hosts[1].holds[1].ranges',
  })
  expect(refuse([...rows(0, 1), ...rows(0, 1), ...rows(0, 1)]).code).toBe('TOPOLOGY_INVALID')
})
