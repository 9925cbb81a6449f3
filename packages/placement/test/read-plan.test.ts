import { describe, expect, test } from 'vitest'
import { canonicalText } from '../src/canonical.ts'
import type { PlanData } from '../src/plan-data.ts'
import { readPlan } from '../src/read-plan.ts'
import { totalsOf } from '../src/totals.ts'
import { smallBody, thrownBy } from './plans.ts'

const body = smallBody()
const data: PlanData = { format: 'onecopy-plan', version: 1, ...body, totals: totalsOf(body) }

/** The plan's JSON with the field at a path set, or left out when the value is undefined. */
function jsonWith(path: readonly (string | number)[], value: unknown): string {
  const plan = JSON.parse(canonicalText(data)) as unknown
  let owner = plan as Record<string | number, unknown>
  for (const key of path.slice(0, -1)) owner = owner[key] as Record<string | number, unknown>
  if (value === undefined) delete owner[path.at(-1)!]
  else owner[path.at(-1)!] = value
  return JSON.stringify(plan)
}

function fieldOf(path: readonly (string | number)[]): string {
  return path.reduce<string>((field, key) => {
    if (typeof key === 'number') return `${field}[${key}]`
    return field === '' ? key : `${field}.${key}`
  }, '')
}

/** The paths of all fields, in arrays those of the first entry. */
function* pathsOf(value: unknown, path: readonly (string | number)[] = []): Generator<readonly (string | number)[]> {
  if (path.length > 0) yield path
  if (typeof value !== 'object' || value === null) return
  const entries = Array.isArray(value) ? value.slice(0, 1).entries() : Object.entries(value)
  for (const [key, content] of entries) yield* pathsOf(content, [...path, key])
}

describe('readPlan()', () => {
  test('takes text or bytes, with any white space and order of keys', () => {
    expect(readPlan(canonicalText(data))).toEqual(data)
    const { totals, format, ...rest } = data
    const json = JSON.stringify({ totals, ...rest, format }, null, 2)
    expect(readPlan(new TextEncoder().encode(json))).toEqual(data)
  })

  test('lets tensors whose parts are written alike share them', () => {
    const [rows] = data.tensors
    const json = jsonWith(['tensors'], [rows, rows, data.tensors[1]])
    const { tensors } = readPlan(json)
    expect(tensors[1]!.parts).toBe(tensors[0]!.parts)
    expect(tensors[2]!.parts).not.toBe(tensors[0]!.parts)
  })

  const paths = [...pathsOf(data)]
  const fields = paths.filter((path) => typeof path.at(-1) === 'string')

  test('knows every field of a plan', () => {
    expect(fields).toHaveLength(45)
  })

  test.each(fields.map((path) => [fieldOf(path), path] as const))('refuses a plan without %s', (field, path) => {
    expect(thrownBy(() => readPlan(jsonWith(path, undefined)))).toMatchObject({ code: 'PLAN_INVALID', field })
  })

  test.each(paths.map((path) => [fieldOf(path), path] as const))('refuses another form of %s', (field, path) => {
    for (const value of [true, { some: 'object' }]) {
      const error = thrownBy(() => readPlan(jsonWith(path, value)))
      expect(error.code).toBe('PLAN_INVALID')
      // What is wrong in an object that should be another is the field in it.
      expect(error.field === field || error.field === `${field}.some`).toBe(true)
      expect(error.message).toContain(field)
    }
  })

  test.each([
    [['layot'], ['layout']],
    [['mesh', 'replica'], ['replicas']],
    [['hosts', 0, 'memorybytes'], ['memoryBytes']],
    [['hosts', 0, 'numaNodes', 0, 'memoryByte'], ['memoryBytes']],
    [['workers', 0, 'hots'], ['host']],
    [['shards', 0, 'bytelength'], ['byteLength']],
    [['tensors', 0, 'Parts'], ['parts']],
    [['tensors', 0, 'parts', 0, 'range'], ['ranges']],
    [['totals', 'host'], ['hosts']],
    [['totals', 'hosts', 0, 'uniquebytes'], ['uniqueBytes']],
  ])('offers the nearest name for the unknown field %j', (path, candidates) => {
    const error = thrownBy(() => readPlan(jsonWith(path, 1)))
    expect(error).toMatchObject({ code: 'PLAN_INVALID', field: fieldOf(path) })
    expect(error.candidates).toEqual(expect.arrayContaining(candidates))
    expect(error.message).toContain(`nearest: "${error.candidates![0]}"`)
  })

  test.each([
    [['format'], 'onecopy-plans', 'format'],
    [['version'], 2, 'version'],
    [['layout'], 'ABC', 'layout'],
    [['objective'], 'stiky', 'objective'],
    [['mesh', 'tp'], 0, 'mesh.tp'],
    [['mesh', 'tp'], 1.5, 'mesh.tp'],
    [['hosts', 0, 'name'], '', 'hosts[0].name'],
    [['hosts', 0, 'numaNodes'], [], 'hosts[0].numaNodes'],
    [['hosts', 0, 'memoryBytes'], -1, 'hosts[0].memoryBytes'],
    [['workers', 1, 'tp'], -1, 'workers[1].tp'],
    [['shards', 0, 'byteLength'], 2 ** 53, 'shards[0].byteLength'],
    [['tensors', 0, 'dtype'], 'BF17', 'tensors[0].dtype'],
    [['tensors', 0, 'shape', 1], -4, 'tensors[0].shape[1]'],
    [['tensors', 0, 'parts', 1, 'workers'], [], 'tensors[0].parts[1].workers'],
    [['tensors', 0, 'parts', 1, 'workers'], [1, 0], 'tensors[0].parts[1].workers[1]'],
    [['tensors', 0, 'parts', 1, 'workers'], [1, 1], 'tensors[0].parts[1].workers[1]'],
    [['tensors', 0, 'parts', 0, 'ranges', 0], [0, 1, 2], 'tensors[0].parts[0].ranges[0]'],
    [['tensors', 0, 'parts', 0, 'ranges', 0], [2, 1], 'tensors[0].parts[0].ranges[0][1]'],
    [['tensors', 0, 'parts', 0, 'ranges', 0], [0.5, 1], 'tensors[0].parts[0].ranges[0][0]'],
    [['tensors', 0, 'parts', 0, 'ranges', 0], [], 'tensors[0].parts[0].ranges[0]'],
    [['tensors', 0, 'parts', 0, 'ranges', 0], [[0, 1]], 'tensors[0].parts[0].ranges[0]'],
    [
      ['tensors', 0, 'parts', 0, 'ranges', 0],
      [
        [0, 1],
        [1, 2],
      ],
      'tensors[0].parts[0].ranges[0]',
    ],
    [
      ['tensors', 0, 'parts', 0, 'ranges', 0],
      [
        [0, 0],
        [1, 2],
      ],
      'tensors[0].parts[0].ranges[0]',
    ],
    [
      ['tensors', 0, 'parts', 0, 'ranges', 0],
      [
        [2, 3],
        [0, 1],
      ],
      'tensors[0].parts[0].ranges[0]',
    ],
  ])('refuses %j = %j', (path, value, field) => {
    const error = thrownBy(() => readPlan(jsonWith(path, value)))
    expect(error).toMatchObject({ code: 'PLAN_INVALID', field })
    expect(error.message).toContain(field)
  })

  test('offers the nearest objective', () => {
    expect(thrownBy(() => readPlan(jsonWith(['objective'], 'stiky'))).candidates).toEqual(['sticky'])
  })

  test.each(['', '{', '[]', 'null', '"plan"', `${canonicalText(data)}x`])(
    'refuses what is no JSON object: %j',
    (json) => {
      expect(thrownBy(() => readPlan(json)).code).toBe('PLAN_INVALID')
    },
  )

  test('refuses bytes that are not UTF-8, with the cause', () => {
    const bytes = new TextEncoder().encode(canonicalText(data))
    bytes[bytes.indexOf(0x72, 200)] = 0xff
    const error = thrownBy(() => readPlan(bytes))
    expect(error.code).toBe('PLAN_INVALID')
    expect(error.cause).toBeInstanceOf(TypeError)
  })

  test('refuses parts that are nested beyond all measure', () => {
    const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`
    const json = canonicalText(data).replace('"parts":[', `"parts":[${deep},`)
    expect(thrownBy(() => readPlan(json))).toMatchObject({ code: 'PLAN_INVALID', field: 'tensors[0].parts[0]' })
  })

  test('takes __proto__ for a field like any other', () => {
    const json = canonicalText(data).replace('"parts":[{', '"parts":[{"__proto__":{"workers":[0]},')
    expect(thrownBy(() => readPlan(json))).toMatchObject({ field: 'tensors[0].parts[0].__proto__' })
  })
})
