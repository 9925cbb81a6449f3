import { type CoordinatorStatus, defaultSocketPath, type VersionStatus } from '@onecopy/protocol'
import { printable } from '../../terminal/printable.ts'
import { shellWord } from '../../terminal/shell-word.ts'
import type { Style } from '../../terminal/style.ts'
import { factLines } from '../../terminal/table.ts'
import { displayName, displayWidth } from '../../terminal/text.ts'
import { formatBytes, formatCount, formatMs } from '../../terminal/units.ts'
import type { ServedCheckpoint } from './served-checkpoint.ts'

/** One published checkpoint: `mistral@1  13.5 GiB, 291 tensors  sealed  ready in 15.1 s`. */
export function publishedLine(
  { name }: ServedCheckpoint,
  number: number,
  { checkpoints }: CoordinatorStatus,
  milliseconds: number,
  nameWidth: number,
): string {
  const checkpoint = checkpoints.find((each) => each.name === name)
  const version = checkpoint?.versions.find((each) => each.version === number)
  const label = `${displayName(name)}@${number}`
  const gap = ' '.repeat(Math.max(0, nameWidth + '@1'.length - displayWidth(label)))
  const backing = `${checkpoint?.backing ?? ''}${checkpoint?.pinned ? ', pinned' : ''}`
  return `${label}${gap}  ${contentText(version)}  ${backing}  ${readinessText(version, milliseconds)}`
}

function contentText(version: VersionStatus | undefined): string {
  if (version === undefined) return 'gone already'
  const size = formatBytes(version.byteLength)
  return version.state === 'unloaded' ? size : `${size}, ${formatCount(version.tensors, 'tensor')}`
}

function readinessText(version: VersionStatus | undefined, milliseconds: number): string {
  if (version?.state === 'unloaded') return `validated in ${formatMs(milliseconds)}, loaded when somebody asks`
  return `ready in ${formatMs(milliseconds)}`
}

/** Where the coordinator is, and how to get at it: lines. */
export function whereLines(socket: string, name: string, { dim }: Style): string[] {
  // A client that is told nothing looks where this user's coordinator is by default, whatever this one was told.
  const found = socket === defaultSocketPath({ ...process.env, ONECOPY_SOCKET: '' })
  const attachOptions = `${found ? '' : `socket: ${quoted(socket)}, `}checkpoint: ${quoted(name)}`
  const runOptions = `${found ? '' : `--socket ${shellWord(socket)} `}--checkpoint ${shellWord(name)}`
  const facts = [
    ['listening', `${socket} (process ${process.pid})`],
    ['attach', `const checkpoint = await attach({ ${attachOptions} }) // import { attach } from 'onecopy'`],
    ['or', `onecopy run ${runOptions} -- node server.js`],
  ] as const
  return factLines(
    facts.map(([label, text]) => [label, printable(text)]),
    dim,
  )
}

function quoted(text: string): string {
  return /['\\]/.test(text) ? JSON.stringify(text) : `'${text}'`
}
