import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { canonicalId, canonicalPieces, canonicalText } from '../src/canonical.ts'
import type { PlanBody } from '../src/check-plan.ts'
import type { PlanData } from '../src/plan-data.ts'
import { totalsOf } from '../src/totals.ts'
import { bodyArbitrary, bodyOf, smallBody } from './plans.ts'

function dataOf(body: PlanBody): PlanData {
  return { format: 'onecopy-plan', version: 1, ...body, totals: totalsOf(body) }
}

/** The same data with the keys of every object the other way round. */
function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, content]) => [key, reversed(content)]),
  )
}

describe('canonicalText()', () => {
  test('is JSON of the data, without white space, keys in the order of the types', () => {
    const text = canonicalText(dataOf(smallBody()))
    expect(text).toMatch(
      /^\{"format":"onecopy-plan","version":1,"layout":"[0-9a-f]{64}","mesh":\{"pp":1,"tp":2,"ep":1,"replicas":1\},"objective":"balanced","hosts":\[\{"name":"h0","memoryBytes":null,"numaNodes":\[\{"memoryBytes":null\}\]\}\],"workers":\[\{"name":"w0","host":"h0","numaNode":0,"memoryBytes":null,"replica":0,"pp":0,"ep":0,"tp":0\},/,
    )
    expect(text).toContain(
      '"tensors":[{"name":"rows","dtype":"F32","shape":[4,6],"shard":0,"begin":8,"end":104,"reason":0,"parts":[{"ranges":[[0,2]],"workers":[0]},{"ranges":[[2,4]],"workers":[1]}]},',
    )
    expect(text).toMatch(
      /"totals":\{"byteLength":156,"workers":\[84,84\],"hosts":\[\{"uniqueBytes":156,"arenaBytes":48,"numaNodes":\[156\]\}\]\}\}$/,
    )
  })

  test('says the data, whatever order its keys are in', () => {
    fc.assert(
      fc.property(bodyArbitrary, (body) => {
        const data = dataOf(body)
        const text = canonicalText(data)
        expect(JSON.parse(text)).toEqual(data)
        expect(canonicalText(reversed(data) as PlanData)).toBe(text)
      }),
    )
  })
})

describe('canonicalId()', () => {
  test('is sha256 of the text as UTF-8, though the text comes in pieces', () => {
    const parts = [{ ranges: [], workers: [0, 1] }]
    const sketches = Array.from({ length: 5000 }, (_, at) => {
      return { name: `重み.${at}.\u{1f600}"\\`, dtype: 'F32', shape: [at % 7], parts } as const
    })
    const data = dataOf(bodyOf(sketches))
    const pieces = [...canonicalPieces(data)]
    expect(pieces.length).toBeGreaterThan(2)
    expect(pieces.join('')).toBe(canonicalText(data))
    expect(canonicalId(data)).toBe(createHash('sha256').update(canonicalText(data), 'utf8').digest('hex'))
  })
})
