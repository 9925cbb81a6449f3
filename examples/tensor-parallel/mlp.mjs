/** The gated MLP of one layer: of a whole checkpoint, or of one worker's part, whose result is a summand of the whole. */
export function mlp(checkpoint, layer, x) {
  const matrix = (name) => checkpoint.tensor(`model.layers.${layer}.mlp.${name}_proj.weight`)
  const gate = times(matrix('gate'), x)
  const up = times(matrix('up'), x)
  return times(
    matrix('down'),
    up.map((value, at) => (value * gate[at]) / (1 + Math.exp(-gate[at]))),
  )
}

/** A matrix of [outputs, inputs] times a vector. */
function times(matrix, x) {
  const [rows, columns] = matrix.shape
  const values = matrix.toFloat32()
  return Float32Array.from({ length: rows }, (_, row) => {
    let sum = 0
    for (let column = 0; column < columns; column++) sum += values[row * columns + column] * x[column]
    return sum
  })
}
