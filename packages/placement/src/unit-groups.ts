/** Stages that something has to be in, and the tensor that says so. */
export interface FixedStages {
  readonly stages: readonly number[] // rising
  readonly tensor: number // position in the index
}

/** Nodes that are merged into groups with the same stages; union-find. */
export class UnitGroups {
  readonly #parents: number[] = []
  readonly #fixed = new Map<number, FixedStages>()
  readonly #onConflict: (a: FixedStages, b: FixedStages) => Error

  /** @param onConflict makes the error for two tensors of a group that have to be in different stages */
  constructor(onConflict: (a: FixedStages, b: FixedStages) => Error) {
    this.#onConflict = onConflict
  }

  /** A new group of one. */
  add(): number {
    return this.#parents.push(this.#parents.length) - 1
  }

  /** The node that stands for the group. */
  find(node: number): number {
    let root = node
    while (this.#parents[root] !== root) root = this.#parents[root]!
    for (let at = node; at !== root; ) {
      const next = this.#parents[at]!
      this.#parents[at] = root
      at = next
    }
    return root
  }

  merge(a: number, b: number): void {
    const left = this.find(a)
    const right = this.find(b)
    if (left === right) return
    const [root, child] = left < right ? [left, right] : [right, left]
    this.#parents[child] = root
    const fixed = this.#fixed.get(child)
    if (fixed !== undefined) this.fix(root, fixed)
  }

  /** The whole group has to be in these stages. */
  fix(node: number, fixed: FixedStages): void {
    const root = this.find(node)
    const known = this.#fixed.get(root)
    if (known === undefined) this.#fixed.set(root, fixed)
    else if (`${known.stages}` !== `${fixed.stages}`) throw this.#onConflict(known, fixed)
  }

  fixed(node: number): readonly number[] | null {
    return this.#fixed.get(this.find(node))?.stages ?? null
  }
}
