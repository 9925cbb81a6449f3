import { quoteName, tensorByteLength, tensorIndex } from '@onecopy/safetensors'
import { alikeTensors } from './alike-tensors.ts'
import { checkMemory } from './check-memory.ts'
import { checkParts } from './check-parts.ts'
import { PlacementError, type PlacementErrorFields } from './errors.ts'
import { layoutOf } from './layout.ts'
import { placeIn } from './mesh.ts'
import type { PlanData, PlannedWorker } from './plan-data.ts'
import { totalsOf } from './totals.ts'

/** A plan without what follows from the rest. */
export type PlanBody = Omit<PlanData, 'totals' | 'format' | 'version'>

/**
 * Checks that a plan of the right form makes sense: every position exists, workers fill the mesh, tensors fit their shards,
 * parts are disjoint and complete, and the layout is that of the tensors.
 *
 * @throws PlacementError PLAN_INVALID, PLAN_OVERLAP, PLAN_INCOMPLETE
 */
export function checkBody(data: PlanBody): void {
  checkWorkers(data)
  checkMesh(data)
  checkFiles(data)
  for (const { tensor } of alikeTensors(data.tensors)) checkParts(data, tensor)
  const layout = layoutOf(tensorIndex(data.shards, data.tensors))
  if (layout === data.layout) return
  const message = `The plan's layout is ${data.layout}, but its shards and tensors have ${layout}`
  throw invalid(message, 'layout', { details: { layout: data.layout, actual: layout } })
}

/**
 * Checks the body, that the totals follow from it, and that every memory limit is kept.
 *
 * @throws PlacementError as {@link checkBody} and `checkMemory` do
 */
export function checkPlan(data: PlanData): void {
  checkBody(data)
  checkTotals(data)
  checkMemory(data)
}

function checkWorkers({ hosts, workers }: PlanBody): void {
  checkNames('hosts', 'Host', hosts)
  checkNames('workers', 'Worker', workers)
  const byName = new Map(hosts.map((host) => [host.name, host]))
  for (const [place, { name, host, numaNode }] of workers.entries()) {
    const nodes = byName.get(host)?.numaNodes.length
    const where = { worker: name, host }
    if (nodes === undefined) {
      const message = `Worker ${quoteName(name)} is on host ${quoteName(host)}, which the plan does not have`
      throw invalid(message, `workers[${place}].host`, where)
    }
    if (numaNode < nodes) continue
    const message = `Worker ${quoteName(name)} is on NUMA node ${numaNode} of host ${quoteName(host)}, which has ${nodes}`
    throw invalid(message, `workers[${place}].numaNode`, where)
  }
}

function checkNames(field: string, kind: string, list: readonly { readonly name: string }[]): void {
  const seen = new Set<string>()
  for (const [place, { name }] of list.entries()) {
    if (seen.has(name)) throw invalid(`${kind} ${quoteName(name)} is in the plan twice`, `${field}[${place}].name`)
    seen.add(name)
  }
}

const AXES = ['pp', 'ep', 'tp'] as const

function checkMesh({ mesh, workers }: PlanBody): void {
  const count = mesh.replicas * mesh.pp * mesh.ep * mesh.tp
  if (count !== workers.length) {
    const shape = `${mesh.replicas} replicas × pp ${mesh.pp} × ep ${mesh.ep} × tp ${mesh.tp}`
    throw invalid(`The mesh has ${count} places (${shape}), but there are ${workers.length} workers`, 'mesh')
  }
  const taken = new Map<number, PlannedWorker>()
  for (const [place, worker] of workers.entries()) {
    for (const [axis, position, size] of [
      ['replica', worker.replica, mesh.replicas] as const,
      ...AXES.map((axis) => [axis, worker[axis], mesh[axis]] as const),
    ]) {
      if (position < size) continue
      const message = `Worker ${quoteName(worker.name)} has ${axis} ${position}, but the mesh has only ${size}`
      throw invalid(message, `workers[${place}].${axis}`, { worker: worker.name })
    }
    const position = placeIn(mesh, worker.replica, worker.pp, worker.ep, worker.tp)
    const other = taken.get(position)
    if (other !== undefined) {
      const message = `Workers ${quoteName(other.name)} and ${quoteName(worker.name)} have the same place in the mesh`
      throw invalid(message, `workers[${place}]`, { worker: worker.name })
    }
    taken.set(position, worker)
  }
}

/** Programs open shards by these names, so that none may lead to another folder. */
const NO_FILE_NAME = /^\.{0,2}$|[/\\\0]/

function checkFiles({ shards, reasons, tensors }: PlanBody): void {
  for (const [place, { name }] of shards.entries()) {
    if (!NO_FILE_NAME.test(name)) continue
    throw invalid(`Shard name ${quoteName(name)} must be a plain file name`, `shards[${place}].name`)
  }
  const seen = new Set<string>()
  for (const [place, tensor] of tensors.entries()) {
    const { name, dtype, shape, shard, begin, end, reason } = tensor
    const fail = (what: string, field: string) => {
      return invalid(`Tensor ${quoteName(name)} ${what}`, `tensors[${place}].${field}`, { tensor: name })
    }
    if (seen.has(name)) throw fail('is in the plan twice', 'name')
    seen.add(name)
    const file = shards[shard]
    if (file === undefined) throw fail(`is in shard ${shard}, but the plan has ${shards.length}`, 'shard')
    if (reasons[reason] === undefined) throw fail(`has reason ${reason}, but the plan has ${reasons.length}`, 'reason')
    let byteLength: number
    try {
      byteLength = shape.includes(0) ? 0 : tensorByteLength(dtype, shape, name)
    } catch (cause) {
      throw invalid(`Tensor ${quoteName(name)}: ${(cause as Error).message}`, `tensors[${place}].shape`, {
        tensor: name,
        cause,
      })
    }
    if (end - begin !== byteLength) {
      const extent = `${dtype} [${shape.join(', ')}], which is ${byteLength} bytes`
      throw fail(`is ${extent}, but its file range ${begin} to ${end} has ${end - begin}`, 'end')
    }
    if (end <= file.byteLength) continue
    throw fail(`ends at byte ${end} of shard ${quoteName(file.name)}, which has ${file.byteLength}`, 'end')
  }
}

function checkTotals(data: PlanData): void {
  const totals = totalsOf(data)
  compare('totals.byteLength', data.totals.byteLength, totals.byteLength)
  compare('totals.workers.length', data.totals.workers.length, totals.workers.length)
  for (const [place, bytes] of totals.workers.entries()) {
    compare(`totals.workers[${place}]`, data.totals.workers[place]!, bytes)
  }
  compare('totals.hosts.length', data.totals.hosts.length, totals.hosts.length)
  for (const [place, host] of totals.hosts.entries()) {
    const said = data.totals.hosts[place]!
    const field = `totals.hosts[${place}]`
    compare(`${field}.uniqueBytes`, said.uniqueBytes, host.uniqueBytes)
    compare(`${field}.arenaBytes`, said.arenaBytes, host.arenaBytes)
    compare(`${field}.numaNodes.length`, said.numaNodes.length, host.numaNodes.length)
    for (const [node, bytes] of host.numaNodes.entries()) {
      compare(`${field}.numaNodes[${node}]`, said.numaNodes[node]!, bytes)
    }
  }
}

function compare(field: string, said: number, actual: number): void {
  if (said === actual) return
  throw invalid(`The plan's ${field} is ${said}, but must be ${actual}`, field, { details: { said, actual } })
}

function invalid(message: string, field: string, fields: PlacementErrorFields = {}): PlacementError {
  return new PlacementError('PLAN_INVALID', message, { ...fields, field })
}
