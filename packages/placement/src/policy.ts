/** How many workers there are along each axis; the number of workers is the product. */
export interface MeshShape {
  /** Pipeline stages: each holds some of the layers. @default 1 */
  readonly pp?: number
  /** Tensor parallel: each holds slices of the tensors that are split along it. @default 1 */
  readonly tp?: number
  /** Expert parallel: each holds some of the experts. @default 1 */
  readonly ep?: number
  /** Workers that hold the same; on one host they cost nothing. @default 1 */
  readonly replicas?: number
}

/** Axes that a dimension can be split along. */
export type SplitAxis = 'tp' | 'ep'

/**
 * Which tensors: a glob over whole names, where `*` is any run of characters without a dot, `**` any run at all, `?` one
 * character, `{a,b}` either, `{layer}` and `{expert}` a number that is remembered, and a backslash takes the next
 * character as it is; or a regular expression (JavaScript, flag `u`) that must match the whole name and may have groups
 * named `layer` and `expert`.
 */
export type Pattern = string | { readonly regex: string }

/**
 * At the beginning of a rule's glob: what stands before the names in the checkpoint, nothing or a text up to a dot. It is the
 * same in all rules, and found by matching.
 */
export const PREFIX = '{prefix}'

/** A dimension that is cut along an axis, one piece for each position on it. */
export interface Split {
  /** Outermost is 0; negative counts from the last. */
  readonly dimension: number
  readonly axis: SplitAxis
  /**
   * Several matrices packed into one tensor along the dimension, each of which is cut by itself: how many equal ones, or the
   * size of each. @default 1
   */
  readonly blocks?: number | readonly number[]
  /**
   * Positions that stay together, such as those of one attention head. Where there are fewer such units than positions on
   * the axis, and their number divides it, neighbours on the axis hold the same unit; inputs, whose products are summed, never.
   * Null: which positions stay together is not known, so that cutting them is an error. Positions of a weight that packs
   * outputs count as outputs. @default each by itself, and never held twice
   */
  readonly unit?: number | null
  /** Tensors of one dimension are cut along it, whatever the dimension. @default the dimension must be one of the tensor's */
  readonly vectors?: true
}

/** Which pipeline stage: the first, the last, one by number, or wherever there is room (`auto`). */
export type StageChoice = 'first' | 'last' | 'auto' | number

/**
 * What is done with the tensors that a pattern matches; of several rules the first that matches counts. A rule says
 * exactly one of `split`, `replicate`, `once` and `pin`; `expert` may go with all but `pin`.
 */
export interface Rule {
  readonly match: Pattern
  /** Cut along one axis, or two dimensions along two axes. Tensors without dimensions are never cut. */
  readonly split?: Split | readonly Split[]
  /** Whole, on every worker of its stages. */
  readonly replicate?: true
  /**
   * Whole, on the first position along this axis alone: what is added once to a sum over it, such as the bias of a matrix whose
   * inputs are cut.
   */
  readonly once?: 'tp'
  /** Whole, on these workers only, by name. */
  readonly pin?: string | readonly string[]
  /** Placed by the number captured as `{expert}`: neighbouring experts together, as evenly as it goes. */
  readonly expert?: 'ep'
  /** @default the stage of its `{layer}`; a tensor without one needs a choice as soon as there are several stages */
  readonly stage?: StageChoice | readonly StageChoice[]
  /**
   * What the rule was made from, such as an entry of a plan of transformers. Of the rules with the same, one at least must
   * match a tensor; otherwise the plan has a notice. @default the rule itself
   */
  readonly entry?: string
}

/**
 * Small tensors that belong to another, such as scales: they go where their tensor goes, cut along the same dimension in
 * the proportion of the two sizes. Checked before the rules.
 */
export interface Companion {
  /** The companion's name, with `{name}` for what both names share: `{name}_scale_inv`. */
  readonly match: string
  /** The name of the tensor it belongs to: `{name}`. Without such a tensor, the rules place the companion. */
  readonly of: string
  /** Positions of the tensor that one position of the companion stands for, by dimension. @default found from the sizes */
  readonly block?: readonly number[]
  /** For each of its dimensions the one of the tensor that it follows, null where it stays whole. @default found from the sizes */
  readonly along?: readonly (number | null)[]
  /** Only where there is a tensor of this name too, with `{name}` in it. @default always */
  readonly beside?: string
}

/** Which layers go to which stage. */
export interface Stages {
  /** For each stage the half-open range of layer numbers. @default by `objective` */
  readonly layers?: readonly (readonly [begin: number, end: number])[]
}

/** Every objective. */
export const OBJECTIVES = ['balanced', 'min-peak', 'sequential', 'sticky'] as const

/**
 * What decides where the planner is free (which layers go to which stage, which worker takes which place in the mesh):
 * `balanced` bytes in proportion to the workers' weights, by largest remainder; `min-peak` the least bytes on the fullest
 * worker; `sequential` fills one stage's memory before the next; `sticky` the least bytes that have to move to where they
 * are not held yet.
 */
export type Objective = (typeof OBJECTIVES)[number]

/** How tensors are to be spread: plain data, fit for JSON. */
export interface Policy {
  /** @default all 1 */
  readonly mesh?: MeshShape
  readonly rules: readonly Rule[]
  /** @default the usual names of scales and zero points, see companions.ts */
  readonly companions?: readonly Companion[]
  readonly stages?: Stages
  /** Each: patterns of tensors that share a stage; those with the same captures make one group. */
  readonly together?: readonly (readonly Pattern[])[]
  /** Each: names of one and the same tensor, such as tied embeddings: what there is of them goes wherever any is needed. */
  readonly tied?: readonly (readonly string[])[]
  /** @default `balanced` */
  readonly objective?: Objective
}
