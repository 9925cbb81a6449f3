import { checkArgument, checkOptions, rules } from './check-options.ts'

const NAME = { ...rules.text, must: "a tensor's name" }
const NAMES = {
  must: 'a list, or another iterable, of names of tensors',
  isKind: (value: unknown) => typeof value === 'object' && value !== null && Symbol.iterator in value,
}
const HOOKS = { onProgress: rules.callback, signal: rules.signal }

/** @throws TypeError for what is no name; whether there is such a tensor is another question */
export function checkName(name: unknown): void {
  if (typeof name !== 'string') checkArgument('The name of a tensor', name, NAME)
}

/** Checks the options of `prefetch` and `lock`. */
export function checkPrefetching(owner: string, options: unknown): void {
  checkOptions(owner, options, { tensors: NAMES, maxGapBytes: rules.wholeNumber(0), ...HOOKS })
}

/** Checks the options of `select` and its like. What a selection says is checked where it is resolved: it may come from JSON. */
export function checkGathering(owner: string, options: unknown): void {
  checkOptions(owner, options, { reserve: rules.callback, timeoutMs: rules.wholeNumber(1), ...HOOKS })
}

/** Checks what is given to `selectAll`. */
export function checkSelections(selections: unknown, options: unknown): void {
  checkArgument('What selectAll() selects', selections, { must: 'a list of selections', isKind: Array.isArray })
  checkGathering('selectAll()', options)
}

/** Checks what is given to `adopt`, which comes from another thread. */
export function checkShare(share: unknown): void {
  const isKind = (value: unknown): boolean => {
    const { directory, shards } = (value ?? {}) as { directory?: unknown; shards?: unknown }
    return directory instanceof SharedArrayBuffer && Array.isArray(shards) && shards.every((shard) => shard?.backing)
  }
  checkArgument('What Checkpoint.adopt() takes over', share, { must: 'what share() of a checkpoint gave', isKind })
}
