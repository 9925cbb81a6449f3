/**
 * The assignment of rows to columns with the least sum of costs, one to one: the Hungarian method with potentials
 * (Kuhn 1955, Munkres 1957), cubic in the size.
 *
 * @param costs square; Infinity where a row must not get a column
 * @returns the column of each row, or null when the costs allow none
 */
export function leastAssignment(costs: readonly (readonly number[])[]): readonly number[] | null {
  const size = costs.length
  const rowPotential = new Float64Array(size)
  const columnPotential = new Float64Array(size + 1)
  const rowOf = new Int32Array(size + 1).fill(-1) // by column; the last column is where each search starts
  for (let row = 0; row < size; row++) {
    const distance = new Float64Array(size).fill(Number.POSITIVE_INFINITY)
    const from = new Int32Array(size).fill(size)
    const done = new Uint8Array(size + 1)
    let column = size
    rowOf[size] = row
    while (rowOf[column] !== -1) {
      done[column] = 1
      const at = rowOf[column]!
      let next = -1
      for (let other = 0; other < size; other++) {
        if (done[other] === 1) continue
        const reduced = costs[at]![other]! - rowPotential[at]! - columnPotential[other]!
        if (reduced < distance[other]!) {
          distance[other] = reduced
          from[other] = column
        }
        if (next === -1 || distance[other]! < distance[next]!) next = other
      }
      const step = distance[next]!
      if (step === Number.POSITIVE_INFINITY) return null
      for (let other = 0; other <= size; other++) {
        if (done[other] === 1) {
          rowPotential[rowOf[other]!]! += step
          columnPotential[other]! -= step
        } else if (other < size) distance[other]! -= step
      }
      column = next
    }
    while (column !== size) {
      rowOf[column] = rowOf[from[column]!]!
      column = from[column]!
    }
  }
  const columnOf: number[] = []
  for (let column = 0; column < size; column++) columnOf[rowOf[column]!] = column
  return columnOf
}
