// @ts-check
import { dense } from './checkpoints.mjs'
import { starters } from './cold-start/contenders.mjs'
import { assertResident, PageCache, WrongState } from './cold-start/page-cache.mjs'
import { chooseBytes, freeDiskBytes, freeMemoryBytes } from './cold-start/room.mjs'
import { bySize } from './harness/benchmark.mjs'
import { interleave } from './harness/interleave.mjs'
import { Collector } from './harness/result.mjs'
import { numbersOf, sinceStart } from './harness/trial.mjs'

/** @typedef {import('./harness/result.mjs').Figure} Figure */
/** @typedef {import('./cold-start/contenders.mjs').Starter} Starter */
/** @typedef {'cold' | 'warm'} State */
/** @typedef {(starter: Starter, name: string) => Figure | undefined} FigureOf */

/** @type {import('./harness/benchmark.mjs').Benchmark} */
export const coldStart = {
  name: 'cold-start',
  claim: 'A checkpoint that lies on the disk is in RAM as soon as a C program that does nothing else could read it',
  run,
}

/** Moments that programs report, and how a reader knows them; all count from the start of the process. */
const MOMENTS = /** @type {const} */ ([
  ['residentMs', 'until all is in RAM'],
  ['firstMs', 'until the first tensor was read'],
  ['forwardMs', 'until all tensors were read'],
])

/** What the time goes to. */
const STAGES = /** @type {const} */ ([
  ['startMs', 'process start', 'ms'],
  ['openMs', 'open', 'ms'],
  ['ioMs', 'prefetch()', 'ms'],
  ['touchMs', 'reading a byte of each page', 'ms'],
  ['majorFaults', 'major faults', 'count'],
  ['minorFaults', 'minor faults', 'count'],
])

/** Equal tensors, so that the first one is a known share. */
const TENSOR_COLUMNS = 1024
const ELEMENT_BYTES = 2

/** @param {import('./harness/benchmark.mjs').RunOptions} options */
async function run(options) {
  const { size, scratch, log } = options
  const collector = new Collector()
  const shape = [bySize(size, { tiny: 2 ** 10, short: 2 ** 13, full: 2 ** 15 }), TENSOR_COLUMNS]
  const tensorBytes = shape.reduce((product, length) => product * length, ELEMENT_BYTES)
  const shards = bySize(size, { tiny: 2, short: 4, full: 8 })
  const wantedBytes = bySize(size, { tiny: 8, short: 64, full: 64 }) * tensorBytes
  const { byteLength, reason } = chooseBytes({
    wantedBytes,
    leastBytes: Math.min(wantedBytes, shards * tensorBytes),
    copies: 2,
    memoryBytes: freeMemoryBytes(),
    diskBytes: freeDiskBytes(scratch.cache),
  })
  const tensors = Math.floor(byteLength / tensorBytes)
  if (reason !== null) collector.note(`The checkpoint is smaller than planned, ${wantedBytes} bytes: ${reason}.`)
  log(`writing ${tensors * tensorBytes} bytes`)
  // numpy has no bfloat16, so halves of the other kind.
  const checkpoint = await dense(scratch, { name: 'cold-start', dtype: 'F16', shape, tensors, shards })
  const pageCache = await PageCache.of(checkpoint.folder)
  try {
    const contenders = await starters(checkpoint.folder, checkpoint.byteLength, options, collector)
    const trials = bySize(size, { tiny: 1, short: 10, full: 10 })
    const measured = new Measurement(collector, checkpoint.byteLength, trials)
    const able = await measured.tryOut(contenders, pageCache)
    log(`warm: ${trials} rounds of ${able.filter(({ warm }) => warm).length}`)
    const warm = able.filter((starter) => starter.warm)
    measured.report('warm', ...(await measured.measure(warm, () => pageCache.warm(), 'warm')))
    log(`cold: ${trials} rounds of ${able.length}`)
    const evict = async (/** @type {Starter} */ starter) => {
      await pageCache.evict()
      await starter.evict?.()
    }
    const [left, figureOf] = measured.report('cold', ...(await measured.measure(able, evict, 'cold')))
    compare(collector, left, figureOf, size !== 'tiny')
    draw(collector, left, figureOf, checkpoint.byteLength)
  } finally {
    pageCache.close()
  }
  note(collector, checkpoint)
  return collector.findings
}

/** One state of the page cache after the other, with those who can be measured in it. */
class Measurement {
  #collector
  #byteLength
  #trials

  /** @param {Collector} collector @param {number} byteLength @param {number} trials */
  constructor(collector, byteLength, trials) {
    this.#collector = collector
    this.#byteLength = byteLength
    this.#trials = trials
  }

  /**
   * Starts everybody once, so that programs and libraries are in RAM; rivals that cannot run here drop out.
   *
   * @param {readonly Starter[]} contenders
   * @param {PageCache} pageCache
   */
  async tryOut(contenders, pageCache) {
    const able = []
    for (const starter of contenders) {
      const needed = starter.copies * this.#byteLength
      const free = freeMemoryBytes()
      if (needed > free) {
        this.#drop(starter, `it needs ${needed} bytes of memory, ${free} are free`)
        continue
      }
      try {
        await starter.start()
        able.push(starter)
      } catch (error) {
        if (starter.kind === 'ours') throw error
        this.#drop(starter, error instanceof Error ? (error.message.split('\n').at(-1) ?? '') : `${error}`)
      }
    }
    await pageCache.warm()
    return able
  }

  /**
   * @param {readonly Starter[]} contenders
   * @param {(starter: Starter) => Promise<void>} prepare brings the page cache into its state, or throws WrongState
   * @param {State} state
   * @returns {Promise<[Starter[], Awaited<ReturnType<typeof interleave>>]>} those whose every trial began in that state
   */
  async measure(contenders, prepare, state) {
    /** @type {Map<string, string>} */
    const reasons = new Map()
    const measured = contenders.map((starter) => ({
      id: starter.id,
      measure: async () => {
        if (reasons.has(starter.id)) return {}
        try {
          await prepare(starter)
          return this.#momentsOf(starter, await starter.start())
        } catch (error) {
          if (!(error instanceof WrongState)) throw error
          reasons.set(starter.id, error.message)
          return {}
        }
      },
    }))
    const samples = await interleave(measured, { trials: this.#trials, warmUps: 0 })
    for (const starter of contenders) {
      const reason = reasons.get(starter.id)
      if (reason !== undefined) this.#drop(starter, `page cache not ${state}: ${reason}`)
    }
    return [contenders.filter(({ id }) => !reasons.has(id)), samples]
  }

  /**
   * @param {State} state
   * @param {readonly Starter[]} contenders
   * @param {Awaited<ReturnType<typeof interleave>>} samples
   * @returns {[readonly Starter[], FigureOf]}
   */
  report(state, contenders, samples) {
    /** @type {Map<string, Figure>} */
    const figures = new Map()
    /** @param {Starter} starter @param {string} name @param {string} what @param {'ms' | 'count'} unit */
    const figure = ({ id, label, subject }, name, what, unit) => {
      if (!samples.has(id, name)) return
      const about = { id: `${state}.${id}.${name}`, label: `${state}, ${label}: ${what}`, subject, unit }
      figures.set(`${id}.${name}`, this.#collector.figure({ ...about, pageCache: state }, samples(id, name)))
    }
    for (const [name, what] of MOMENTS) for (const starter of contenders) figure(starter, name, what, 'ms')
    for (const starter of contenders) figure(starter, 'workMs', 'until all is in RAM, without the start', 'ms')
    if (state === 'cold') {
      const ours = contenders.filter(({ kind }) => kind === 'ours')
      for (const [name, what, unit] of STAGES) for (const starter of ours) figure(starter, name, what, unit)
    }
    return [contenders, ({ id }, name) => figures.get(`${id}.${name}`)]
  }

  /**
   * @param {Starter} starter
   * @param {import('./harness/trial.mjs').Trial} trial
   * @returns {Record<string, number>}
   */
  #momentsOf({ kind }, trial) {
    const { report } = trial
    const numbers = numbersOf(trial)
    if (kind === 'ours') assertResident(numbers['residentBytes'] ?? null, this.#byteLength)
    else if ((numbers['byteLength'] ?? 0) < this.#byteLength) {
      throw new Error(`A rival read ${report['byteLength']} bytes, required are ${this.#byteLength}`)
    }
    const at = (/** @type {string} */ name) => sinceStart({ ...trial, report: { atNs: report[name] } })
    /** @type {Record<string, number>} */
    const moments = { startMs: at('beganNs'), residentMs: at('residentNs') }
    for (const name of ['first', 'forward']) if (`${name}Ns` in report) moments[`${name}Ms`] = at(`${name}Ns`)
    return { ...numbers, ...moments, workMs: at('residentNs') - at('beganNs') }
  }

  /** @param {Starter} starter @param {string} reason */
  #drop({ subject, label }, reason) {
    this.#collector.notMeasured(`${subject}: ${label}`, reason)
  }
}

/** What is held against the targets: the policy that is there for this. */
const HELD = 'populate'

/**
 * @param {Collector} collector
 * @param {readonly Starter[]} contenders
 * @param {FigureOf} figureOf
 * @param {boolean} held whether targets are held against the figures
 */
function compare(collector, contenders, figureOf, held) {
  const own = contenders.find(({ id }) => id === HELD)
  if (own === undefined) return
  const clocks = /** @type {const} */ ([
    ['residentMs', 'process start included'],
    ['workMs', 'without the start of the process'],
  ])
  for (const [name, clock] of clocks) {
    const ours = figureOf(own, name)
    if (ours === undefined) continue
    /** @type {Map<string, number>} */
    const ratios = new Map()
    for (const starter of contenders) {
      const rival = figureOf(starter, name)
      if (rival === undefined || starter === own) continue
      const label = `cold until all is in RAM, ${clock}: ${starter.subject}, ${starter.label} ÷ onecopy, ${own.label}`
      ratios.set(starter.id, collector.ratio(label, rival, ours).ratio)
    }
    if (!held) continue
    /** @param {Starter['kind']} kind @param {string} text @param {number} atLeast */
    const hold = (kind, text, atLeast) => {
      const rivals = contenders.filter((starter) => starter.kind === kind)
      const rival = fastest(rivals.flatMap((starter) => figureOf(starter, name) ?? []))
      const value = ratios.get(rivals.find((starter) => figureOf(starter, name) === rival)?.id ?? '')
      if (rival && value) collector.target(`${text}, ${clock}`, { ours, rival, value, atLeast })
    }
    hold('reader', 'cold until all is in RAM ≥ 0.95× the speed of the best C program that only reads', 0.95)
    hold('python', 'cold until all is in RAM ≥ 1.3× faster than Python safetensors', 1.3)
  }
}

/** @param {readonly Figure[]} figures */
function fastest(figures) {
  return figures.reduce((/** @type {Figure | undefined} */ best, figure) => {
    return best === undefined || figure.median < best.median ? figure : best
  }, undefined)
}

/**
 * @param {Collector} collector
 * @param {readonly Starter[]} contenders
 * @param {FigureOf} figureOf
 * @param {number} byteLength
 */
function draw(collector, contenders, figureOf, byteLength) {
  if (contenders.length === 0) return
  /** @param {Starter} starter @param {string} name */
  const median = (starter, name) => figureOf(starter, name)?.median ?? null
  const size = `${(byteLength / 1e9).toPrecision(3)} GB`
  const y = { label: 'time, median', unit: /** @type {const} */ ('ms') }
  const readers = contenders.filter(({ kind }) => kind === 'reader')
  const best = fastest(readers.flatMap((starter) => figureOf(starter, 'residentMs') ?? []))
  const shown = contenders.filter((starter) => !readers.includes(starter) || figureOf(starter, 'residentMs') === best)
  collector.chart({
    id: 'cold-start',
    title: `${size} from the disk, from the start of the process`,
    x: { label: '', values: shown.map(({ id }) => id) },
    y,
    series: MOMENTS.map(([name, what]) => ({ name: what, values: shown.map((starter) => median(starter, name)) })),
  })
  const own = contenders.filter(({ id }) => id === HELD)
  if (readers.length > 0 && own.length > 0) {
    collector.chart({
      id: 'cold-start-readers',
      title: `${size} from the disk: onecopy and C programs that only read`,
      x: { label: '', values: [...own, ...readers].map(({ kind, id }) => (kind === 'ours' ? 'onecopy' : id)) },
      y,
      series: [
        ['residentMs', 'process start included'],
        ['workMs', 'without the start'],
      ].map(([name = '', what = '']) => ({
        name: what,
        values: [...own, ...readers].map((starter) => median(starter, name)),
      })),
    })
  }
  const ours = contenders.filter(({ kind }) => kind === 'ours')
  collector.chart({
    id: 'cold-start-stages',
    title: `Where the time goes, ${size} from the disk`,
    x: { label: '', values: STAGES.filter(([, , unit]) => unit === 'ms').map(([, what]) => what) },
    y,
    series: ours.map((starter) => ({
      name: starter.id,
      values: STAGES.filter(([, , unit]) => unit === 'ms').map(([name]) => median(starter, name)),
    })),
  })
}

/** @param {Collector} collector @param {import('./checkpoints.mjs').MadeCheckpoint} checkpoint */
function note(collector, { byteLength, tensors, shards }) {
  collector.note(
    `${byteLength} bytes in ${tensors} tensors of F16 and ${shards} shards, random values. Reading is one byte of each page.`,
  )
  collector.note(
    'Cold: every page of the shards was dropped with posix_fadvise before each trial, and mincore told that none was left. ' +
      'Programs, libraries and the shard index were warm, and what a disk or a host below keeps in RAM cannot be seen.',
  )
  collector.note(
    'Faults are as the kernel counts them: one on a page that read-ahead has asked for is minor, even if it waits for the disk.',
  )
  collector.note(
    "The stage 'open' holds the whole reading where that is a part of opening: residency 'populate' and backing 'sealed'.",
  )
  collector.note(
    'Python safetensors with numpy and torch.load() have all in memory of their own when they have loaded it; with torch, ' +
      'load_file() maps the files, and all is in RAM when all was read. The C programs with O_DIRECT leave nothing in RAM.',
  )
}
