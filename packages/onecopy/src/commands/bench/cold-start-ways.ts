import { formatBytes } from '../../terminal/units.ts'
import type { PlainWay, Way } from './cold-start-trial.ts'
import type { Subject } from './subject.ts'

/** A way to all weights from a cold start. */
export type ColdStartWay = {
  /** What is done, for people. */
  readonly what: string
  /** Whether the first tensor alone can be measured where memory is too small for all. */
  readonly partly: boolean
  /** Why it cannot be measured on this checkpoint; null when it can. */
  readonly impossible: (subject: Subject) => string | null
} & ({ readonly id: Way; readonly rival: false } | { readonly id: PlainWay; readonly rival: true })

const possible = (): null => null

/** The most that `readFile` takes, on every version of Node.js: one byte less than this. */
const READ_FILE_LIMIT_BYTES = 2 ** 31

function readFileImpossible({ shards }: Subject): string | null {
  if (shards.some(({ whole }) => !whole)) return 'readFile cannot read the part that --limit asks for'
  const large = shards.find(({ end }) => end >= READ_FILE_LIMIT_BYTES)
  if (large === undefined) return null
  return `a shard has ${formatBytes(large.end)}, and readFile takes less than ${formatBytes(READ_FILE_LIMIT_BYTES)}`
}

/** What a program can do with onecopy, then without it. */
export const WAYS: readonly ColdStartWay[] = [
  {
    id: 'lazy',
    what: 'open, then touch the tensors in order: each page is read when it is touched',
    rival: false,
    partly: true,
    impossible: possible,
  },
  {
    id: 'prefetch',
    what: 'open, prefetch and touch the first tensor, prefetch all, touch them in order',
    rival: false,
    partly: true,
    impossible: possible,
  },
  {
    id: 'populate',
    what: "open with residency 'populate', then touch",
    rival: false,
    partly: false,
    impossible: possible,
  },
  {
    id: 'lock',
    what: "open with residency 'lock', then touch",
    rival: false,
    partly: false,
    impossible: possible,
  },
  {
    id: 'sealed',
    what: "open with backing 'sealed' (a copy that nobody can change), then touch",
    rival: false,
    partly: false,
    impossible: possible,
  },
  {
    id: 'readFile',
    what: 'without onecopy: fs.readFile of one shard after the other, then touch',
    rival: true,
    partly: false,
    impossible: readFileImpossible,
  },
  {
    id: 'read',
    what: 'without onecopy: fs.read of 8 MiB at a time into one buffer for each shard, then touch',
    rival: true,
    partly: false,
    impossible: possible,
  },
]
