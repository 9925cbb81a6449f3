import { quoteName } from '@onecopy/safetensors'
import { bytesText } from './bytes-text.ts'
import { partSize } from './part-size.ts'
import type { PlacedTensor, PlanData } from './plan-data.ts'
import { quotedNames, rangesText } from './range-text.ts'
import { type Column, tableText } from './text-table.ts'

/** What an explanation tells beside hosts, workers and reasons. */
export interface ExplainOptions {
  /** Whose parts are listed, by name. @default none; with `worker` all that it holds */
  readonly tensors?: (name: string) => boolean
  /** Only this worker, its host, and the tensors that it holds. @default all */
  readonly worker?: string
}

/**
 * A plan as text for people, without colours.
 *
 * @param tensorCounts how many tensors each worker holds something of
 * @param only the position of the only worker to tell about; bytes of reasons are then what it holds
 * @param isListed which tensors' parts are listed; by default all with `only`, else none
 */
export function explainPlan(
  data: PlanData,
  notices: readonly string[],
  tensorCounts: readonly number[],
  only: number | undefined,
  isListed: ((name: string) => boolean) | undefined,
): string {
  const tensors = data.tensors.filter(({ parts }) => {
    return only === undefined || parts.some(({ workers }) => workers.includes(only))
  })
  const listed = tensors.filter(({ name }) => isListed?.(name) ?? only !== undefined)
  const sections = [
    headText(data),
    ...(notices.length === 0 ? [] : [['Notices', ...notices.map((notice) => `  ${plain(notice)}`)].join('\n')]),
    hostsText(data, only),
    workersText(data, tensorCounts, only),
    reasonsText(data, tensors, only),
    ...listed.map((tensor) => tensorText(data, tensor, only)),
  ]
  return `${sections.join('\n\n')}\n`
}

/** In UTF-16 code units. */
const MAX_SHOWN_LENGTH = 1000

const HOST_COLUMNS: readonly Column[] = [
  ['Host', 'left'],
  ['Workers', 'right'],
  ['Limit', 'right'],
  ['Unique', 'right'],
  ['Arena', 'right'],
]
const WORKER_COLUMNS: readonly Column[] = [
  ['Worker', 'left'],
  ['Host', 'left'],
  ['NUMA', 'right'],
  ['Replica', 'right'],
  ['pp', 'right'],
  ['ep', 'right'],
  ['tp', 'right'],
  ['Limit', 'right'],
  ['Bytes', 'right'],
  ['Tensors', 'right'],
]
const REASON_COLUMNS: readonly Column[] = [
  ['Tensors', 'right'],
  ['Bytes', 'right'],
  ['Reason', 'left'],
]

function headText({ mesh, objective, layout, tensors, shards, totals }: PlanData): string {
  const axes = `pp ${mesh.pp} × tp ${mesh.tp} × ep ${mesh.ep} × ${mesh.replicas} ${mesh.replicas === 1 ? 'replica' : 'replicas'}`
  return [
    `Mesh       ${axes}`,
    `Objective  ${objective}`,
    `Tensors    ${tensors.length} in ${shards.length} shards, ${bytesText(totals.byteLength)}`,
    `Layout     ${layout}`,
  ].join('\n')
}

function hostsText({ hosts, workers, totals }: PlanData, only: number | undefined): string {
  const counts = new Map<string, number>()
  for (const { host } of workers) counts.set(host, (counts.get(host) ?? 0) + 1)
  const rows: string[][] = []
  for (const [place, { name, memoryBytes, numaNodes }] of hosts.entries()) {
    if (only !== undefined && workers[only]!.host !== name) continue
    const { uniqueBytes, arenaBytes, numaNodes: nodeBytes } = totals.hosts[place]!
    const [limit, unique, arena] = [limitText(memoryBytes), bytesText(uniqueBytes), bytesText(arenaBytes)]
    rows.push([plain(name), String(counts.get(name) ?? 0), limit, unique, arena])
    if (numaNodes.length === 1 && numaNodes[0]!.memoryBytes === null) continue
    for (const [node, { memoryBytes: nodeLimit }] of numaNodes.entries()) {
      const held = workers.filter(({ host, numaNode }) => host === name && numaNode === node).length
      rows.push([`  NUMA node ${node}`, String(held), limitText(nodeLimit), bytesText(nodeBytes[node]!), ''])
    }
  }
  return tableText(HOST_COLUMNS, rows)
}

function workersText({ workers, totals }: PlanData, counts: readonly number[], only: number | undefined): string {
  const rows: string[][] = []
  for (const [place, worker] of workers.entries()) {
    if (only !== undefined && place !== only) continue
    rows.push([
      plain(worker.name),
      plain(worker.host),
      ...[worker.numaNode, worker.replica, worker.pp, worker.ep, worker.tp].map(String),
      limitText(worker.memoryBytes),
      bytesText(totals.workers[place]!),
      String(counts[place]!),
    ])
  }
  return tableText(WORKER_COLUMNS, rows)
}

function reasonsText({ reasons }: PlanData, tensors: readonly PlacedTensor[], only: number | undefined): string {
  const sums = reasons.map((reason) => ({ reason, count: 0, bytes: 0 }))
  for (const { reason, dtype, shape, begin, end, parts } of tensors) {
    const sum = sums[reason]!
    sum.count++
    if (only === undefined) {
      sum.bytes += end - begin
      continue
    }
    for (const { ranges, workers } of parts) {
      if (workers.includes(only)) sum.bytes += partSize(dtype, shape, ranges).byteLength
    }
  }
  const rows = sums
    .filter(({ count }) => count > 0)
    .map(({ reason, count, bytes }) => [String(count), bytesText(bytes), plain(reason)])
  return tableText(REASON_COLUMNS, rows)
}

function tensorText(data: PlanData, tensor: PlacedTensor, only: number | undefined): string {
  const { name, dtype, shape, shard, begin, end, reason, parts } = tensor
  const lines = [
    `${quoteName(name, MAX_SHOWN_LENGTH)} ${dtype} [${shape.join(', ')}], bytes ${begin} to ${end} of ${quoteName(data.shards[shard]!.name)}`,
    `  ${plain(data.reasons[reason]!)}`,
  ]
  for (const { ranges, workers } of parts) {
    if (only !== undefined && !workers.includes(only)) continue
    const { byteLength, inPlace } = partSize(dtype, shape, ranges)
    const where = `${bytesText(byteLength)} ${inPlace ? 'in place' : 'arena'}`
    lines.push(
      `  ${rangesText(shape, ranges)} ${where}: ${quotedNames(workers.map((worker) => data.workers[worker]!.name))}`,
    )
  }
  return lines.join('\n')
}

/** Names and reasons may come from a file: what is in them must not draw lines of its own. */
function plain(text: string): string {
  return quoteName(text, MAX_SHOWN_LENGTH).slice(1, -1).replaceAll('\\"', '"')
}

function limitText(memoryBytes: number | null): string {
  return memoryBytes === null ? 'none' : bytesText(memoryBytes)
}
