import type { Plan, PlanDiff } from '@onecopy/placement'
import { printable } from '../../terminal/printable.ts'
import type { Style } from '../../terminal/style.ts'
import { factLines, tableLines } from '../../terminal/table.ts'
import { displayName } from '../../terminal/text.ts'
import { formatBytes, formatBytesExactly, formatCount, formatInteger } from '../../terminal/units.ts'

/** Rows of workers and of moved tensors that are shown; `--json` has all. */
const MAX_ROWS = 64

/** Digits of a plan's id that are enough to tell plans apart; `--json` has the whole plan. */
const SHOWN_ID = 16

/** What a plan is made from, in words. */
export interface PlanNames {
  /** The checkpoint. */
  readonly label: string
  /** The policy. */
  readonly origin: string
}

/** A plan, as lines for people. */
export function planLines(plan: Plan, { label, origin }: PlanNames, { bold, dim }: Style): string[] {
  const { mesh, workers, hosts, totals, data, notices } = plan
  const axes = [`pp ${mesh.pp}`, `tp ${mesh.tp}`, `ep ${mesh.ep}`, `replicas ${mesh.replicas}`].join(' × ')
  const checkpoint = `${formatCount(data.tensors.length, 'tensor')}, ${formatBytesExactly(totals.byteLength)}`
  return [
    bold(printable(label)),
    '',
    ...factLines(
      [
        ['plan', plan.id.slice(0, SHOWN_ID)],
        ['policy', printable(origin)],
        ['checkpoint', checkpoint],
        ['mesh', `${axes} on ${formatCount(workers.length, 'worker')} of ${formatCount(hosts.length, 'host')}`],
        ['objective', plan.objective],
        ...notices.map((notice) => ['notice', printable(notice)] as const),
      ],
      dim,
    ),
    '',
    ...hostLines(plan, dim),
    '',
    ...workerLines(plan, dim),
  ]
}

/** What `Plan.explain` says, which has tables of its own, under the same names. */
export function explanationLines(
  plan: Plan,
  { label, origin }: PlanNames,
  explanation: string,
  { bold, dim }: Style,
): string[] {
  return [
    bold(printable(label)),
    '',
    ...factLines(
      [
        ['Plan', plan.id.slice(0, SHOWN_ID)],
        ['Policy', printable(origin)],
      ],
      dim,
    ),
    '',
    ...explanation.trimEnd().split('\n').map(printable),
  ]
}

function hostLines(plan: Plan, dim: Style['dim']): string[] {
  const hosts = plan.hosts.map(({ name }) => plan.host(name))
  const nodes = hosts.some(({ numaNodes }) => numaNodes.length > 1)
  const rows = hosts.map(({ name, workers, uniqueBytes, fileBytes, arenaBytes, numaNodes, memoryBytes }) => [
    displayName(name),
    formatInteger(workers.length),
    formatBytes(fileBytes),
    formatBytes(arenaBytes),
    formatBytes(uniqueBytes),
    ...(nodes ? [numaNodes.map((node) => formatBytes(node.uniqueBytes)).join(' + ')] : []),
    memoryBytes === null ? '–' : formatBytes(memoryBytes),
  ])
  const titles = ['workers', 'in place', 'in arenas', 'together', ...(nodes ? ['by NUMA node'] : []), 'limit']
  return tableLines([{ title: 'host' }, ...titles.map(right)], rows, dim)
}

function workerLines(plan: Plan, dim: Style['dim']): string[] {
  const shown = plan.workers.slice(0, MAX_ROWS)
  const rows = shown.map(({ name, host, replica, pp, ep, tp, memoryBytes }) => {
    const { tensors, byteLength, arenaBytes } = plan.worker(name)
    return [
      displayName(name),
      displayName(host),
      ...[replica, pp, ep, tp].map(String),
      formatInteger(tensors.length),
      formatBytes(byteLength - arenaBytes),
      formatBytes(arenaBytes),
      formatBytes(byteLength),
      memoryBytes === null ? '–' : formatBytes(memoryBytes),
    ]
  })
  const titles = ['replica', 'pp', 'ep', 'tp', 'tensors', 'in place', 'in arenas', 'together', 'limit']
  const lines = tableLines([{ title: 'worker' }, { title: 'host' }, ...titles.map(right)], rows, dim)
  return [...lines, ...more(plan.workers.length - shown.length, 'worker')]
}

/** What has to move, as lines for people. */
export function diffLines(diff: PlanDiff, { bold, dim }: Style): string[] {
  const rows = diff.hosts.map(({ host, movedBytes, freedBytes, keptBytes }) => [
    displayName(host),
    formatBytes(movedBytes),
    formatBytes(freedBytes),
    formatBytes(keptBytes),
  ])
  const moved = diff.hosts.flatMap(({ host, tensors }) => tensors.map((tensor) => ({ host, ...tensor })))
  const shown = moved.slice(0, MAX_ROWS)
  const tensorRows = shown.map(({ host, name, movedBytes, freedBytes }) => [
    displayName(name),
    displayName(host),
    formatBytes(movedBytes),
    formatBytes(freedBytes),
  ])
  const sizes = ['moved', 'freed'].map(right)
  return [
    bold(`from plan ${diff.previousId.slice(0, SHOWN_ID)}`),
    '',
    ...tableLines([{ title: 'host' }, ...sizes, right('kept')], rows, dim),
    ...(shown.length === 0
      ? []
      : ['', ...tableLines([{ title: 'tensor' }, { title: 'host' }, ...sizes], tensorRows, dim)]),
    ...more(moved.length - shown.length, 'tensor'),
  ]
}

function more(count: number, noun: string): string[] {
  return count > 0 ? [`… and ${formatCount(count, `more ${noun}`)}; --json has all`] : []
}

function right(title: string) {
  return { title, align: 'right' } as const
}
