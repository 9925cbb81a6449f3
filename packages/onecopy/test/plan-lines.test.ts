import { oneHost, planPlacement, type Topology } from '@onecopy/placement'
import { indexHeaders, parseHeader, serializeHeader, type TensorSpec } from '@onecopy/safetensors'
import { describe, expect, test } from 'vitest'
import { diffLines, explanationLines, planLines } from '../src/commands/plan/plan-lines.ts'

const plain = { bold: keep, dim: keep, good: keep, bad: keep }
const NAMES = { label: '/models/m', origin: 'preset \u001b[1m' }

function keep(text: string): string {
  return text
}

/** A plan that cuts rows along tp; nothing but headers is needed. */
function planOf(specs: readonly TensorSpec[], tp: number, topology: Topology = oneHost(tp), dimension = 0) {
  const { bytes, dataByteLength } = serializeHeader(specs)
  const header = parseHeader(bytes.subarray(8), dataByteLength)
  const byteLength = bytes.byteLength + dataByteLength
  const index = indexHeaders([{ name: 's.safetensors', byteLength, dataOffset: bytes.byteLength, header }])
  return planPlacement(index, topology, { mesh: { tp }, rules: [{ match: '**', split: { dimension, axis: 'tp' } }] })
}

function matrices(count: number, rows = 256): TensorSpec[] {
  return Array.from({ length: count }, (_, at) => ({ name: `t${at}`, dtype: 'U8', shape: [rows, 256] }))
}

describe('planLines()', () => {
  test('shows what is read in place and what is gathered apart, and limits where there are any', () => {
    const memoryBytes = 2 ** 20
    const topology = {
      hosts: [{ name: 'h', memoryBytes }],
      workers: [
        { name: 'a', host: 'h', memoryBytes },
        { name: 'b', host: 'h' },
      ],
    }
    const byRows = planLines(planOf(matrices(2), 2, topology), NAMES, plain)
    const byColumns = planLines(planOf(matrices(2), 2, topology, 1), NAMES, plain)
    const cells = (lines: readonly string[]): string[][] => lines.map((line) => line.split(/ {2,}/))
    expect(byRows[0]).toBe('/models/m')
    expect(cells(byRows)).toContainEqual(['policy', 'preset \\u001b[1m'])
    expect(cells(byRows)).toContainEqual(['h', '2', '128.0 KiB', '0 B', '128.0 KiB', '1.00 MiB'])
    expect(cells(byRows)).toContainEqual(['a', 'h', '0', '0', '0', '0', '2', '64.0 KiB', '0 B', '64.0 KiB', '1.00 MiB'])
    expect(cells(byColumns)).toContainEqual(['h', '2', '0 B', '128.0 KiB', '128.0 KiB', '1.00 MiB'])
    expect(cells(byColumns)).toContainEqual(['b', 'h', '0', '0', '0', '1', '2', '0 B', '64.0 KiB', '64.0 KiB', '–'])
  })

  test('shows 64 workers, and how many more there are', () => {
    expect(planLines(planOf(matrices(1), 64), NAMES, plain).at(-1)).toMatch(/^w63 /)
    const lines = planLines(planOf(matrices(1), 128), NAMES, plain)
    expect(lines.at(-1)).toBe('… and 64 more workers; --json has all')
    expect(lines.at(-2)).toMatch(/^w63 /)
  })
})

describe('explanationLines()', () => {
  test('puts the names above what the plan says, a line each', () => {
    const plan = planOf(matrices(1), 2)
    const lines = explanationLines(plan, NAMES, 'one\ntwo\u0007\n\n', plain)
    expect(lines).toEqual([
      '/models/m',
      '',
      `Plan    ${plan.id.slice(0, 16)}`,
      'Policy  preset \\u001b[1m',
      '',
      'one',
      'two\\u0007',
    ])
  })
})

describe('diffLines()', () => {
  test('shows hosts, and 64 of the tensors that move, those with most bytes first', () => {
    const specs = [...matrices(70), { name: 'large', dtype: 'U8' as const, shape: [512, 256] }]
    const elsewhere = { hosts: [{ name: 'new' }], workers: [{ name: 'w', host: 'new' }] }
    const [before, after] = [planOf(specs, 1), planOf(specs, 1, elsewhere)]
    const lines = diffLines(after.diff(before), plain)
    expect(lines.slice(0, 5).map((line) => line.split(/ {2,}/))).toEqual([
      [`from plan ${before.id.slice(0, 16)}`],
      [''],
      ['host', 'moved', 'freed', 'kept'],
      ['new', '4.50 MiB', '0 B', '0 B'],
      ['localhost', '0 B', '4.50 MiB', '0 B'],
    ])
    expect(lines[7]).toMatch(/^large +new +128\.0 KiB +0 B$/)
    // Each of 71 tensors moves to one host and from another.
    expect(lines.at(-1)).toBe('… and 78 more tensors; --json has all')
  })

  test('shows no table of tensors when none moves', () => {
    const plan = planOf(matrices(2), 2)
    expect(diffLines(plan.diff(plan), plain)).toHaveLength(4)
  })
})
