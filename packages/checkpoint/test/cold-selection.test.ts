import { randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, openSync } from 'node:fs'
import type { SelectedRange, Selection } from '@onecopy/safetensors'
import { expect, type TestContext, test } from 'vitest'
import type { Backing } from '../src/index.ts'
import { fileOf, headerJson, runChild, temporaryFolder, write } from './support.ts'

const PAGE = 4096
const ROWS = 32
const ROW_BYTES = 4 * PAGE
const COUNT = 64 // tensors of 512 KB: no more than a usual disk reads ahead
const TOTAL = COUNT * ROWS * ROW_BYTES
const QUARTER = TOTAL / 4
const MARGIN = 1.05

/** A checkpoint of random bytes on the disk, whose data begins at a page. */
function writeCold(): string {
  const tensors = Array.from({ length: COUNT }, (_, at) => {
    return { name: `t${at}`, dtype: 'U8' as const, shape: [ROWS, ROW_BYTES], bytes: randomBytes(ROWS * ROW_BYTES) }
  })
  const padding = PAGE - ((8 + headerJson(tensors).length) % PAGE)
  const path = write(temporaryFolder(), 'cold.safetensors', fileOf(tensors, { padding }))
  const descriptor = openSync(path, 'r')
  fsyncSync(descriptor)
  closeSync(descriptor)
  return path
}

/** A quarter of every tensor, or every fourth tensor. */
function quarter(ranges: (at: number) => readonly SelectedRange[]): Selection {
  return { tensors: Array.from({ length: COUNT }, (_, at) => ({ name: `t${at}`, ranges: ranges(at) })) }
}

const rows: SelectedRange = [8, 16]
const columns: SelectedRange = [PAGE, 2 * PAGE]
const KINDS: Record<string, { readonly selection: Selection; readonly inFile: number }> = {
  'whole tensors': {
    selection: { tensors: quarter(() => []).tensors.filter((_, at) => at % 4 === 1) },
    inFile: QUARTER,
  },
  'rows, last tensor first': { selection: { tensors: [...quarter(() => [rows]).tensors].reverse() }, inFile: QUARTER },
  columns: { selection: quarter(() => [[0, ROWS], columns]), inFile: 0 },
  'rows and columns': {
    selection: quarter((at) => (at % 2 === 0 ? [rows] : [[0, ROWS], columns])),
    inFile: QUARTER / 2,
  },
}
const WAYS: readonly (readonly [Backing, 'select' | 'open'])[] = [
  ['file', 'select'],
  ['file', 'open'],
  ['sealed', 'open'],
  ['heap', 'open'],
]

/** Heap backing is for machines without the addon: nothing there can tell the kernel not to read ahead between columns. */
const CASES = Object.keys(KINDS).flatMap((kind) =>
  WAYS.filter(([backing]) => backing !== 'heap' || !kind.includes('columns')).map(
    ([...way]) => [kind, ...way] as const,
  ),
)

test.for(CASES)(
  'of a cold checkpoint, a selection of a quarter, in %s, with backing %s and %s, reads no more than that',
  async ([kind, backing, way], context: TestContext) => {
    const { selection, inFile } = KINDS[kind]!
    const { value } = await runChild('cold-selection.mjs', [writeCold(), backing, way, JSON.stringify(selection)])
    const cost = value as Record<'coldBytes' | 'byteLength' | 'residentBytes' | 'readBytes' | 'fileBytes', number>
    if (cost.coldBytes !== 0) return context.skip(`evict() left ${cost.coldBytes} bytes in RAM`)
    if (Number.isNaN(cost.readBytes)) return context.skip('/proc/self/io does not tell')
    expect(cost).toMatchObject({ byteLength: QUARTER, residentBytes: QUARTER })
    expect(cost.readBytes).toBeLessThanOrEqual(MARGIN * QUARTER)
    expect(cost.readBytes).toBeGreaterThanOrEqual(QUARTER)
    if (backing !== 'file') return
    expect(cost.fileBytes).toBeLessThanOrEqual(inFile + (MARGIN - 1) * QUARTER)
    expect(cost.fileBytes).toBeGreaterThanOrEqual(inFile)
  },
)
