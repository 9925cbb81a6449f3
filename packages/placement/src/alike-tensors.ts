import { getOrMake } from './get-or-make.ts'
import type { Part, UnexplainedTensor } from './plan-data.ts'
import { kindOf } from './shaped.ts'

/** One tensor for all that have its dtype, its shape and its parts, the parts being the same array. */
export interface AlikeTensors<Tensor> {
  readonly tensor: Tensor
  readonly count: number
}

/** The tensors of a plan without those that are placed just as an earlier one, in the order of the first of each kind. */
export function alikeTensors<Tensor extends UnexplainedTensor>(
  tensors: readonly Tensor[],
): readonly AlikeTensors<Tensor>[] {
  const kinds = new Map<readonly Part[], Map<string, { tensor: Tensor; count: number }>>()
  const list: AlikeTensors<Tensor>[] = []
  for (const tensor of tensors) {
    const byKind = getOrMake(kinds, tensor.parts, () => new Map())
    const alike = getOrMake(byKind, kindOf(tensor), () => {
      const first = { tensor, count: 0 }
      list.push(first)
      return first
    })
    alike.count++
  }
  return list
}
