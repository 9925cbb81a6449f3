import type { Demand, UnitKey } from './demands.ts'
import { getOrMake } from './get-or-make.ts'
import { compareNatural } from './natural-order.ts'
import { type FixedStages, UnitGroups } from './unit-groups.ts'

/** A demand, and the nodes of its units. */
export interface NodeDemand extends Demand {
  readonly nodes: readonly number[]
}

/** A node for each layer and each free tensor, and the groups of those that share a stage. */
export class UnitNodes {
  readonly groups: UnitGroups
  readonly #keys = new Map<number, UnitKey>()
  readonly #nodes = new Map<string, number>()
  readonly #firstRules = new Map<string, number>() // by the name of the stack or free tensor

  /** @param onConflict as of `UnitGroups` */
  constructor(onConflict: (a: FixedStages, b: FixedStages) => Error) {
    this.groups = new UnitGroups(onConflict)
  }

  /** The node of a layer or free tensor of which a rule speaks. */
  add(key: UnitKey, rule: number): number {
    const { name } = key
    this.#firstRules.set(name, Math.min(this.#firstRules.get(name) ?? rule, rule))
    return getOrMake(this.#nodes, textOf(key), () => {
      const node = this.groups.add()
      this.#keys.set(node, key)
      return node
    })
  }

  /** The nodes of those keys that were added; a name that the checkpoint does not have may ask for others. */
  known(keys: readonly UnitKey[]): readonly number[] {
    return keys.flatMap((key) => this.#nodes.get(textOf(key)) ?? [])
  }

  /** By the first rule that speaks of the stack or tensor, then by its name, then by number. */
  inOrder(): readonly (readonly [node: number, key: UnitKey])[] {
    const ruleOf = ({ name }: UnitKey) => this.#firstRules.get(name)!
    return [...this.#keys].sort(
      ([, a], [, b]) => ruleOf(a) - ruleOf(b) || compareNatural(a.name, b.name) || (a.layer ?? -1) - (b.layer ?? -1),
    )
  }
}

function textOf({ name, layer }: UnitKey): string {
  return `${layer ?? ''} ${name}`
}
