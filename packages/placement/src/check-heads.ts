import { type IndexedTensor, quoteName } from '@onecopy/safetensors'
import type { Assignment } from './assign-rules.ts'
import { PlacementError } from './errors.ts'
import type { ModelConfig } from './model-config.ts'
import { headSize } from './model-config.ts'
import type { Cutting } from './pieces.ts'

/** Ordinary attention's weights of [outputs, inputs], with a matrix each for queries, keys and values. */
const PROJECTION = /(?:^|\.)(?:self_attn|attn|attention)\.[qkv]_proj\.(?:weight|bias)$/

/**
 * Sees to it that no worker gets a part of an attention head, also by rules that say nothing of heads, as far as the
 * checkpoint's own configuration tells how large they are.
 *
 * @throws PlacementError DIMENSION_NOT_DIVISIBLE
 */
export function checkHeads(
  tensors: readonly IndexedTensor[],
  assignments: readonly Assignment[],
  cuttings: readonly Cutting[],
  given: ModelConfig | null | undefined,
): void {
  const config = { ...given, ...given?.text_config }
  const unit = headSize(config)
  if (unit === null || config.qk_nope_head_dim !== undefined) return // latent attention has heads of other sizes
  for (const [place, { name, shape, dtype }] of tensors.entries()) {
    const rule = assignments[place]!.rule
    const size = shape[0] ?? 0
    // What packs outputs, or several in one row, has other sizes than the configuration says.
    if (rule === null || !PROJECTION.test(name) || size % unit !== 0 || dtype === 'U8') continue
    const cut = cuttings[place]!.cuts.find(({ dimension, axis }) => dimension === 0 && axis === 'tp')
    const torn = cut?.pieces.some(({ extents }) => extents.some((ends) => ends.some((end) => end % unit !== 0)))
    if (cut === undefined || torn !== true) continue
    const what = `Cannot cut dimension 0 of tensor ${quoteName(name)}, of size ${size}, along tp of ${cut.pieces.length}`
    const why = `by the config.json a head has ${unit} positions, which must stay together: give the rule a unit`
    const details = { dimension: 0, size, axis: 'tp', count: cut.pieces.length, unit }
    throw new PlacementError('DIMENSION_NOT_DIVISIBLE', `${what}: ${why} (${rule.text})`, {
      tensor: name,
      field: rule.field,
      details,
    })
  }
}
