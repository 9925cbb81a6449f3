import { CoordinatorError } from './errors.ts'

/** Longest name of a checkpoint, in bytes: what every message, error and status has room for. */
const MAX_CHECKPOINT_NAME_BYTES = 200

/** What people type, and what goes into messages and file names without quoting. */
const PATTERN = /^[\p{L}\p{N}][\p{L}\p{N}._/-]*$/u

const RULE = `begin with a letter or digit and go on with letters, digits and . _ / -, ${MAX_CHECKPOINT_NAME_BYTES} bytes as UTF-8 at most`

/** Whether something can be published under a name. */
export function isCheckpointName(name: string): boolean {
  // In this order: nothing long is looked at.
  return (
    name.length <= MAX_CHECKPOINT_NAME_BYTES &&
    Buffer.byteLength(name) <= MAX_CHECKPOINT_NAME_BYTES &&
    PATTERN.test(name)
  )
}

/**
 * The one check of coordinator, clients and commands.
 * @throws CoordinatorError NAME_INVALID
 */
export function assertCheckpointName(name: string): void {
  if (isCheckpointName(name)) return
  const shown = name.slice(0, 80)
  throw new CoordinatorError('NAME_INVALID', `Name ${JSON.stringify(shown)} must ${RULE}`, { checkpoint: shown })
}
