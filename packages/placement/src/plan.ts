import {
  checkArgument,
  checkOptions,
  quoteName,
  type Rule,
  rules,
  type SelectedTensor,
  type Selection,
  type TensorIndex,
} from '@onecopy/safetensors'
import { canonicalId, canonicalText } from './canonical.ts'
import { checkCheckpoint } from './check-checkpoint.ts'
import { checkMemory } from './check-memory.ts'
import { checkBody, checkPlan, type PlanBody } from './check-plan.ts'
import { diffPlans, type PlanDiff } from './diff.ts'
import { PlacementError } from './errors.ts'
import { type ExplainOptions, explainPlan } from './explain.ts'
import { nearestHint } from './fields.ts'
import { type HostShare, holdingsOf, hostShare, selectedTensor } from './host-share.ts'
import { INDEX_RULE } from './layout.ts'
import { nearest } from './nearest.ts'
import type { PlanData, PlannedHost, PlannedWorker, PlanTotals } from './plan-data.ts'
import type { Objective } from './policy.ts'
import { readPlan } from './read-plan.ts'
import { totalsOf } from './totals.ts'
import { WorkerIndex } from './worker-index.ts'
import { type WorkerShare, WorkerTensor } from './worker-share.ts'

/** Which worker and host gets which tensors, slices and bytes: checked plain data, and the questions that it answers. */
export class Plan {
  /** What the plan's JSON says. */
  readonly data: PlanData
  /**
   * What is to be known about how the plan was made: entries that match nothing, workers that stay empty, what could not be
   * decided from names and shapes. They are no part of the data, so that a plan that was read has none.
   */
  readonly notices: readonly string[]
  readonly #workerPlaces: ReadonlyMap<string, number>
  #id: string | undefined
  #index: WorkerIndex | undefined

  private constructor(data: PlanData, notices: readonly string[]) {
    this.data = data
    this.notices = notices
    this.#workerPlaces = new Map(data.workers.map(({ name }, place) => [name, place]))
  }

  /**
   * Makes a plan of its body: computes the totals and checks that everything makes sense. The form is that of the type.
   *
   * @throws PlacementError as {@link Plan.parse} does, but for the form
   */
  static of(body: PlanBody, notices: readonly string[] = []): Plan {
    checkBody(body)
    const { layout, mesh, objective, hosts, workers, shards, reasons, tensors } = body
    const placed = { layout, mesh, objective, hosts, workers, shards, reasons, tensors }
    const data: PlanData = { format: 'onecopy-plan', version: 1, ...placed, totals: totalsOf(body) }
    checkMemory(data)
    return new Plan(data, notices)
  }

  /**
   * Reads a plan from JSON and checks everything again; white space and the order of keys do not matter.
   *
   * @throws PlacementError PLAN_INVALID for a wrong form and for what contradicts itself, PLAN_OVERLAP, PLAN_INCOMPLETE,
   * MEMORY_EXCEEDED
   */
  static parse(json: string | Uint8Array): Plan {
    checkArgument('The plan to parse', json, JSON_RULE)
    const data = readPlan(json)
    checkPlan(data)
    return new Plan(data, [])
  }

  /** sha256 of the canonical JSON, in hex: the same for plans that say the same, however their JSON was written. */
  get id(): string {
    this.#id ??= canonicalId(this.data)
    return this.#id
  }

  get mesh(): PlanData['mesh'] {
    return this.data.mesh
  }

  get objective(): Objective {
    return this.data.objective
  }

  /** Which checkpoint it is for, see `layoutOf`. */
  get layout(): string {
    return this.data.layout
  }

  get hosts(): readonly PlannedHost[] {
    return this.data.hosts
  }

  get workers(): readonly PlannedWorker[] {
    return this.data.workers
  }

  get totals(): PlanTotals {
    return this.data.totals
  }

  /**
   * What a worker holds.
   *
   * @throws PlacementError WORKER_UNKNOWN with the nearest names
   */
  worker(name: string): WorkerShare {
    const place = this.#workerPlace(name)
    const tensors = this.#workerIndex()
      .held(place)
      .map(({ tensor, ranges }) => {
        return new WorkerTensor(tensor, ranges, this.data.shards[tensor.shard]!.name)
      })
    const arenaBytes = tensors.reduce((bytes, tensor) => bytes + (tensor.contiguous ? 0 : tensor.byteLength), 0)
    return { ...this.data.workers[place]!, byteLength: this.data.totals.workers[place]!, arenaBytes, tensors }
  }

  /**
   * What a host's workers hold together.
   *
   * @throws PlacementError HOST_UNKNOWN with the nearest names
   */
  host(name: string): HostShare {
    return hostShare(this.data, this.#hostPlace(name))
  }

  /**
   * What a worker opens, in plan order; good only for the checkpoint that the plan is for.
   *
   * @throws PlacementError WORKER_UNKNOWN with the nearest names
   */
  selection(worker: string): Selection {
    const held = this.#workerIndex().held(this.#workerPlace(worker))
    const tensors = held.map(({ tensor, ranges }) => selectedTensor(tensor.name, tensor.shape, ranges))
    return { tensors, layout: this.data.layout }
  }

  /**
   * What a host has once the plan is carried out, for `holds` of a topology: each part once, in plan order.
   *
   * @throws PlacementError HOST_UNKNOWN with the nearest names
   */
  holdings(host: string): readonly SelectedTensor[] {
    return holdingsOf(this.data, this.#hostPlace(host))
  }

  /**
   * The plan as text for people: mesh, hosts, workers, reasons, and the tensors that are asked for.
   *
   * @throws PlacementError WORKER_UNKNOWN with the nearest names
   */
  explain(options: ExplainOptions = {}): string {
    checkOptions('explain()', options, { tensors: rules.callback, worker: rules.text })
    const only = options.worker === undefined ? undefined : this.#workerPlace(options.worker)
    const counts = this.data.workers.map((_, place) => this.#workerIndex().count(place))
    return explainPlan(this.data, this.notices, counts, only, options.tensors)
  }

  /**
   * Checks again what {@link Plan.parse} checks, apart from the form; with an index, also that it is the checkpoint's that the
   * plan is for.
   *
   * @throws PlacementError as `Plan.parse` does; PLAN_OTHER_CHECKPOINT
   */
  validate(index?: TensorIndex): void {
    if (index !== undefined) checkArgument('The index to validate against', index, INDEX_RULE)
    checkPlan(this.data)
    if (index !== undefined) checkCheckpoint(this.data, index)
  }

  /**
   * What has to move for this plan to follow another.
   *
   * @throws PlacementError PLAN_OTHER_CHECKPOINT where the plans are not for the same checkpoint
   */
  diff(previous: Plan): PlanDiff {
    checkArgument('The previous plan', previous, PLAN_RULE)
    return diffPlans(previous, this)
  }

  /** The canonical JSON: no white space, keys in the order of `PlanData`. */
  toString(): string {
    return canonicalText(this.data)
  }

  toJSON(): PlanData {
    return this.data
  }

  #workerIndex(): WorkerIndex {
    this.#index ??= new WorkerIndex(this.data.tensors, this.data.workers.length)
    return this.#index
  }

  #workerPlace(worker: string): number {
    checkArgument('The name of a worker', worker, rules.text)
    const place = this.#workerPlaces.get(worker)
    if (place !== undefined) return place
    const candidates = nearest(worker, this.#workerPlaces.keys())
    const message = `The plan has no worker ${quoteName(worker)}${nearestHint(candidates)}`
    throw new PlacementError('WORKER_UNKNOWN', message, { worker, candidates })
  }

  #hostPlace(host: string): number {
    checkArgument('The name of a host', host, rules.text)
    const place = this.data.hosts.findIndex(({ name }) => name === host)
    if (place >= 0) return place
    const candidates = nearest(
      host,
      this.data.hosts.map(({ name }) => name),
    )
    const message = `The plan has no host ${quoteName(host)}${nearestHint(candidates)}`
    throw new PlacementError('HOST_UNKNOWN', message, { host, candidates })
  }
}

const JSON_RULE: Rule = {
  must: 'JSON, as a text or as bytes',
  isKind: (value) => typeof value === 'string' || value instanceof Uint8Array,
}
const PLAN_RULE = rules.instanceOf(Plan as unknown as abstract new (...args: never[]) => Plan, 'a Plan')
