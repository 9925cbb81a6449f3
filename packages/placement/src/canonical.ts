import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js'
import { getOrMake } from './get-or-make.ts'
import type { Part, PlanData } from './plan-data.ts'

/** Text is handed on in pieces of about this many UTF-16 code units, so that a plan need not be one string. */
const PIECE_LENGTH = 1 << 16

/** A plan's canonical JSON: no white space, keys in the order of `PlanData`. */
export function canonicalText(data: PlanData): string {
  return [...canonicalPieces(data)].join('')
}

/** sha256 of a plan's canonical JSON as UTF-8, in hex. */
export function canonicalId(data: PlanData): string {
  const hash = sha256.create()
  for (const piece of canonicalPieces(data)) hash.update(utf8ToBytes(piece))
  return bytesToHex(hash.digest())
}

/** The canonical JSON cut between tensors. */
export function* canonicalPieces(data: PlanData): Generator<string, void> {
  const { mesh, hosts, workers, shards, tensors, totals } = data
  const head = JSON.stringify({
    format: data.format,
    version: data.version,
    layout: data.layout,
    mesh: { pp: mesh.pp, tp: mesh.tp, ep: mesh.ep, replicas: mesh.replicas },
    objective: data.objective,
    hosts: hosts.map(({ name, memoryBytes, numaNodes }) => {
      return { name, memoryBytes, numaNodes: numaNodes.map((node) => ({ memoryBytes: node.memoryBytes })) }
    }),
    workers: workers.map(({ name, host, numaNode, memoryBytes, replica, pp, ep, tp }) => {
      return { name, host, numaNode, memoryBytes, replica, pp, ep, tp }
    }),
    shards: shards.map(({ name, byteLength }) => ({ name, byteLength })),
    reasons: data.reasons,
  })
  let piece = `${head.slice(0, -1)},"tensors":[`
  const textOf = partsWriter()
  for (const [place, { name, dtype, shape, shard, begin, end, reason, parts }] of tensors.entries()) {
    const where = `"dtype":"${dtype}","shape":[${shape.join()}],"shard":${shard},"begin":${begin},"end":${end}`
    piece += `${place === 0 ? '' : ','}{"name":${JSON.stringify(name)},${where},"reason":${reason},"parts":${textOf(parts)}}`
    if (piece.length < PIECE_LENGTH) continue
    yield piece
    piece = ''
  }
  const foot = JSON.stringify({
    byteLength: totals.byteLength,
    workers: totals.workers,
    hosts: totals.hosts.map(({ uniqueBytes, arenaBytes, numaNodes }) => ({ uniqueBytes, arenaBytes, numaNodes })),
  })
  yield `${piece}],"totals":${foot}}`
}

/** Writes parts, each array of them once, however many tensors share it. */
function partsWriter(): (parts: readonly Part[]) => string {
  const texts = new Map<readonly Part[], string>()
  return (parts) => {
    return getOrMake(texts, parts, () => JSON.stringify(parts.map(({ ranges, workers }) => ({ ranges, workers }))))
  }
}
