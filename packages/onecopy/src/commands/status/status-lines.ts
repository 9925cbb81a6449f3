import type { CheckpointStatus, ClientStatus, CoordinatorStatus, VersionStatus } from '@onecopy/protocol'
import { printable } from '../../terminal/printable.ts'
import type { Style } from '../../terminal/style.ts'
import { factLines, tableLines } from '../../terminal/table.ts'
import { displayName } from '../../terminal/text.ts'
import { formatAge, formatBytes, formatCount, formatInteger } from '../../terminal/units.ts'
import { leasesText } from './leases-text.ts'

/** A coordinator's state, as lines. */
export function statusLines(status: CoordinatorStatus, now: number, style: Style): string[] {
  return [
    ...factLines(coordinatorFacts(status, now), style.dim),
    '',
    ...(status.checkpoints.length === 0 ? ['no checkpoints'] : checkpointLines(status.checkpoints, style)),
    '',
    ...(status.clients.length === 0 ? ['no clients'] : clientLines(status.clients, now, style)),
    ...omittedLines(status),
  ]
}

function coordinatorFacts(status: CoordinatorStatus, now: number) {
  const { pid, since, socket, software, loading, heldBytes, lingeringBytes, budgetBytes, budgetFrom } = status
  const from = budgetFrom === '' ? '' : ` (${printable(budgetFrom)})`
  const limit = budgetBytes === null ? 'no budget' : `a budget of ${formatBytes(budgetBytes)}${from}`
  return [
    ['coordinator', `process ${pid}, since ${printable(since)} (${ageText(since, now)})`],
    ...(software === '' ? [] : [['software', printable(software)] as const]),
    ...(loading === 0 ? [] : [['loading', formatCount(loading, 'checkpoint')] as const]),
    ['socket', printable(socket)],
    ['memory', `${formatBytes(heldBytes)} held, ${limit}`],
    ...(lingeringBytes === 0
      ? []
      : [
          [
            'lingering',
            `${formatBytes(lingeringBytes)} of closed versions, still read by the coordinator itself`,
          ] as const,
        ]),
  ] as const
}

function checkpointLines(checkpoints: readonly CheckpointStatus[], { dim, good, bad }: Style): string[] {
  const stateText = ({ state, changed }: VersionStatus): string =>
    `${state === 'ready' ? good(state) : state}${changed ? ` ${bad('files changed')}` : ''}`
  // Few coordinators have any: they come with clients that selected a part of a checkpoint.
  // Nobody asked for it, as a rule.
  const hasResidency = checkpoints.some(({ versions }) => versions.some((each) => each.residentBytes !== null))
  const hasArenas = checkpoints.some(({ versions }) => versions.some(({ arenaBytes }) => arenaBytes > 0))
  const rows = checkpoints.flatMap(({ name, source, backing, pinned, versions }) =>
    versions.map((version) => [
      displayName(name),
      formatInteger(version.version),
      backing,
      formatBytes(version.byteLength),
      formatBytes(version.heldBytes),
      ...(hasArenas ? [formatBytes(version.arenaBytes)] : []),
      ...(hasResidency ? [version.residentBytes === null ? '–' : formatBytes(version.residentBytes)] : []),
      formatInteger(version.leases),
      pinned ? 'yes' : 'no',
      stateText(version),
      sourceText(source),
    ]),
  )
  const columns = [
    { title: 'checkpoint' },
    right('version'),
    { title: 'backing' },
    ...['size', 'held', ...(hasArenas ? ['of it arenas'] : []), ...(hasResidency ? ['in RAM'] : []), 'leases'].map(
      right,
    ),
    ...['pinned', 'state', 'source'].map((title) => ({ title })),
  ]
  return tableLines(columns, rows, dim)
}

function clientLines(clients: readonly ClientStatus[], now: number, { dim }: Style): string[] {
  const rows = clients.map(({ id, pid, uid, name, since, leases }) => [
    String(id),
    displayName(name),
    String(pid),
    String(uid),
    ageText(since, now),
    leases.length === 0 ? 'nothing' : leasesText(leases),
  ])
  const columns = [right('client'), { title: 'name' }, ...['process', 'user', 'since'].map(right), { title: 'holds' }]
  return tableLines(columns, rows, dim)
}

function omittedLines({ omittedCheckpoints, omittedClients }: CoordinatorStatus): string[] {
  if (omittedCheckpoints + omittedClients === 0) return []
  const checkpoints = formatCount(omittedCheckpoints, 'checkpoint')
  return ['', `too much for one answer: ${checkpoints} and ${formatCount(omittedClients, 'client')} are not shown`]
}

function right(title: string) {
  return { title, align: 'right' } as const
}

function sourceText(source: string | readonly string[]): string {
  if (typeof source === 'string') return printable(source)
  return source.length === 1 ? printable(source[0]!) : `${printable(source[0] ?? '')} and ${source.length - 1} more`
}

/** How long ago a time was; nothing is said of what no clock can show. */
function ageText(since: string, now: number): string {
  const milliseconds = now - Date.parse(since)
  return Number.isFinite(milliseconds) ? formatAge(Math.max(0, milliseconds)) : '–'
}
