import type { Demand, UnitKey } from './demands.ts'
import { getOrMake } from './get-or-make.ts'
import { compareModules } from './module-order.ts'
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
  readonly #firstRules = new Map<string, number>() // by the name of the stack or free tensor, in the order of first mention
  readonly #asAdded: boolean

  /**
   * @param onConflict as of `UnitGroups`
   * @param asAdded whether stacks and tensors are added in the order in which the model declares them
   */
  constructor(onConflict: (a: FixedStages, b: FixedStages) => Error, asAdded: boolean) {
    this.groups = new UnitGroups(onConflict)
    this.#asAdded = asAdded
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

  /** By the first rule that speaks of the stack or tensor, then as the model declares them, then by number. */
  inOrder(): readonly (readonly [node: number, key: UnitKey])[] {
    const names = [...this.#firstRules.keys()]
    if (!this.#asAdded) names.sort(compareModules)
    names.sort((a, b) => this.#firstRules.get(a)! - this.#firstRules.get(b)!)
    const places = new Map(names.map((name, place) => [name, place]))
    const placeOf = ({ name }: UnitKey) => places.get(name)!
    return [...this.#keys].sort(([, a], [, b]) => placeOf(a) - placeOf(b) || (a.layer ?? -1) - (b.layer ?? -1))
  }
}

function textOf({ name, layer }: UnitKey): string {
  return `${layer ?? ''} ${name}`
}
