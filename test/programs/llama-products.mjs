// Products over the matrices of a llama model, or over one worker's part of them.

/**
 * For each layer the inputs' way through the attention's values and through the gated MLP, and the logits. Over the part of a
 * tensor-parallel worker, all but the logits are what it adds to the sum, and the logits are its rows.
 * @param {import('@onecopy/checkpoint').Checkpoint} checkpoint
 * @param {readonly number[]} x
 */
export function productsOf(checkpoint, x) {
  const matrix = (/** @type {string} */ name) => checkpoint.tensor(`${name}.weight`)
  const layers = checkpoint.names.filter((name) => name.endsWith('.down_proj.weight')).sort()
  const outputs = layers.map((name) => {
    const layer = name.slice(0, name.indexOf('.mlp'))
    const values = times(matrix(`${layer}.self_attn.v_proj`), x)
    const gate = times(matrix(`${layer}.mlp.gate_proj`), x)
    const up = times(matrix(`${layer}.mlp.up_proj`), x)
    return {
      attention: times(matrix(`${layer}.self_attn.o_proj`), values),
      mlp: times(
        matrix(`${layer}.mlp.down_proj`),
        up.map((value, at) => value * Math.max(0, gate[at] ?? 0)),
      ),
    }
  })
  return { outputs, logits: times(matrix('lm_head'), x) }
}

/**
 * @param {import('@onecopy/checkpoint').TensorView} matrix
 * @param {readonly number[]} x
 */
function times({ name, shape: [rows = 0, columns = 0], data }, x) {
  if (columns !== x.length) throw new RangeError(`${name} has ${columns} columns, the vector ${x.length} elements`)
  return Array.from({ length: rows }, (_, row) =>
    x.reduce((sum, value, column) => sum + value * Number(data[row * columns + column]), 0),
  )
}
