import { Checkpoint, checkArgument, checkOptions, type Rule, rules } from '@onecopy/checkpoint'

/** The longest that a timer can wait; it takes more for 1 ms. */
const MAX_TIMER_MS = 2 ** 31 - 1

const checkpointRule = rules.instanceOf(Checkpoint, 'a Checkpoint, as openCheckpoint() and attach() give')

const filename: Rule = {
  must: 'a path or URL of a module',
  isKind: (value) => typeof value === 'string' || value instanceof URL,
  isWithin: (value: string | URL) => value !== '',
}

const workerData: Rule = {
  must: 'a plain object: the pool adds the checkpoint to it',
  isKind: (value) => {
    const prototype = typeof value === 'object' && value !== null ? Object.getPrototypeOf(value) : undefined
    return prototype === null || prototype === Object.prototype
  },
}

const RESOURCE_LIMITS = ['maxOldGenerationSizeMb', 'maxYoungGenerationSizeMb', 'codeRangeSizeMb', 'stackSizeMb']

const resourceLimits: Rule = {
  must: `an object of numbers above 0, with the keys ${RESOURCE_LIMITS.join(', ')}`,
  isKind: rules.object.isKind,
  isWithin: (value: object) =>
    Object.entries(value).every(([key, size]) => RESOURCE_LIMITS.includes(key) && (size === undefined || size > 0)),
}

const env: Rule = {
  must: 'an object of texts, or SHARE_ENV of node:worker_threads',
  isKind: (value) => value === null || typeof value === 'symbol' || rules.object.isKind(value),
}

/** Also Infinity, which piscina takes for no limit. */
function orInfinity(rule: Rule, also: readonly unknown[] = []): Rule {
  const others: readonly unknown[] = [Number.POSITIVE_INFINITY, ...also]
  return {
    must: `${rule.must}, or ${others.join(' or ')}`,
    isKind: (value) => others.includes(value) || rule.isKind(value),
    isWithin: (value) => others.includes(value) || rule.isWithin!(value),
  }
}

/** piscina's own, but for `closeTimeout`: that is the option of a way to close that is not used, see `Generation.drain`. */
const PISCINA_OPTIONS: Readonly<Record<string, Rule | null>> = {
  name: rules.text,
  minThreads: rules.wholeNumber(0),
  maxThreads: rules.wholeNumber(1),
  idleTimeout: orInfinity(rules.wholeNumber(0, MAX_TIMER_MS)),
  maxQueue: orInfinity(rules.wholeNumber(0), ['auto']),
  concurrentTasksPerWorker: rules.wholeNumber(1),
  atomics: rules.oneOf('sync', 'async', 'disabled'),
  resourceLimits,
  argv: { must: 'a list', isKind: Array.isArray },
  execArgv: rules.listOf(rules.text),
  env,
  taskQueue: rules.object,
  niceIncrement: rules.wholeNumber(0),
  trackUnmanagedFds: rules.flag,
  recordTiming: rules.flag,
  stricterFIFO: rules.flag,
  loadBalancer: rules.callback,
  workerHistogram: rules.flag,
}

const POOL_OPTIONS = { checkpoint: checkpointRule, filename, workerData, ...PISCINA_OPTIONS }

const planRule: Rule = {
  must: 'a Plan, as planPlacement() gives',
  isKind: (value) =>
    rules.object.isKind(value) &&
    Array.isArray((value as { workers?: unknown }).workers) &&
    typeof (value as { selection?: unknown }).selection === 'function',
}

/**
 * @returns whether the pool is one with a plan
 * @throws TypeError, RangeError
 */
export function checkPoolOptions(options: unknown): boolean {
  const owner = 'createWorkerPool()'
  checkArgument(`The options of ${owner}`, options, rules.object)
  const given = options as Readonly<Record<string, unknown>>
  if (given['closeTimeout'] !== undefined) {
    throw new TypeError(`${owner} has no option closeTimeout; give close() of the pool the option timeoutMs`)
  }
  if (given['host'] !== undefined && given['plan'] === undefined) {
    throw new TypeError(`The option host of ${owner} needs the option plan, which says what hosts there are`)
  }
  checkOptions(owner, options, { ...POOL_OPTIONS, plan: planRule, host: rules.text })
  for (const name of ['checkpoint', 'filename'] as const) {
    checkArgument(`The option ${name} of ${owner}`, given[name], POOL_OPTIONS[name])
  }
  const { minThreads, maxThreads } = given as { minThreads?: number; maxThreads?: number }
  if (minThreads !== undefined && maxThreads !== undefined && minThreads > maxThreads) {
    throw new RangeError(
      `The option minThreads of ${owner} is ${minThreads}; it must not be above maxThreads, ${maxThreads}`,
    )
  }
  return given['plan'] !== undefined
}

/** @throws TypeError */
export function checkPoolCheckpoint(checkpoint: unknown): void {
  checkArgument('The checkpoint of swap()', checkpoint, checkpointRule)
}

/** piscina takes null for what is not given. */
function orNull({ must, isKind, isWithin }: Rule): Rule {
  return {
    must,
    isKind: (value) => value === null || isKind(value),
    ...(isWithin && { isWithin: (value: never) => value === null || isWithin(value) }),
  }
}

const RUN_ALL_OPTIONS = { signal: orNull(rules.signal), name: orNull(rules.text), filename: orNull(filename) }
const transferList: Rule = { must: 'a list', isKind: Array.isArray }

/** Those of the methods of pools. */
const METHOD_OPTIONS = {
  run: { ...RUN_ALL_OPTIONS, transferList },
  runAll: RUN_ALL_OPTIONS,
  close: { timeoutMs: rules.wholeNumber(0, MAX_TIMER_MS) },
}

/** @throws TypeError, RangeError */
export function checkMethodOptions(method: 'run' | 'runAll' | 'close', options: unknown): void {
  checkOptions(`${method}() of a pool`, options, METHOD_OPTIONS[method])
}

/** @throws TypeError */
export function checkWorkerName(worker: unknown): void {
  checkArgument('The option worker of run() of a pool with a plan', worker, rules.text)
}
