/** Every code that `PlacementError` can carry; each has its entry in `docs/errors.md`. */
export type PlacementErrorCode =
  | 'POLICY_INVALID'
  | 'TOPOLOGY_INVALID'
  | 'MESH_MISMATCH'
  | 'WORKER_UNKNOWN'
  | 'HOST_UNKNOWN'
  | 'TENSOR_UNCOVERED'
  | 'RULES_CONTRADICT'
  | 'STAGE_MISSING'
  | 'DIMENSION_NOT_DIVISIBLE'
  | 'COMPANION_UNFIT'
  | 'MEMORY_EXCEEDED'
  | 'PLAN_INVALID'
  | 'PLAN_OVERLAP'
  | 'PLAN_INCOMPLETE'
  | 'PLAN_OTHER_CHECKPOINT'

/** Facts that an error carries beside its message; a key is present only where it is known. */
export interface PlacementErrorFields {
  readonly tensor?: string
  readonly worker?: string
  readonly host?: string
  /** Where in a policy, topology or plan, such as `rules[2].split.dimension`. */
  readonly field?: string
  /** What the caller may have meant, best first. */
  readonly candidates?: readonly string[]
  /** The numbers of the message, such as `{ dimension, size, axis, count }` or `{ neededBytes, availableBytes }`. */
  readonly details?: Readonly<Record<string, unknown>>
  readonly cause?: unknown
}

/** A policy, topology or plan that cannot be used. Match on `code`: classes do not survive threads. */
export class PlacementError extends Error {
  override readonly name = 'PlacementError'
  readonly code: PlacementErrorCode
  readonly tensor: string | undefined
  readonly worker: string | undefined
  readonly host: string | undefined
  readonly field: string | undefined
  readonly candidates: readonly string[] | undefined
  readonly details: Readonly<Record<string, unknown>> | undefined

  constructor(code: PlacementErrorCode, message: string, fields: PlacementErrorFields = {}) {
    super(message, fields.cause === undefined ? undefined : { cause: fields.cause })
    this.code = code
    this.tensor = fields.tensor
    this.worker = fields.worker
    this.host = fields.host
    this.field = fields.field
    this.candidates = fields.candidates
    this.details = fields.details
  }
}
