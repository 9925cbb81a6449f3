import type { Extent, SelectedRange, SelectedTensor } from '@onecopy/safetensors'
import { PlacementError } from './errors.ts'
import { fieldsOf, nearestHint } from './fields.ts'
import { nearest } from './nearest.ts'
import type { Host, NumaNode, Topology, Worker } from './topology.ts'

const { array, fail, integer, list, object, string } = fieldsOf('TOPOLOGY_INVALID', 'topology')

/**
 * Checks a topology that may come from JSON.
 *
 * @returns it as plain data, without the fields that are undefined
 * @throws PlacementError TOPOLOGY_INVALID naming the field; HOST_UNKNOWN for a worker on a host that there is not
 */
export function readTopology(value: unknown): Topology {
  const topology = object(value, '', ['hosts', 'workers'])
  const hosts = list(topology.hosts, 'hosts', readHost, 1)
  refuseTwins(hosts, 'hosts')
  const byName = new Map(hosts.map((host) => [host.name, host]))
  const workers = list(topology.workers, 'workers', (worker, field) => readWorker(worker, field, byName), 1)
  refuseTwins(workers, 'workers')
  return { hosts, workers }
}

function readHost(value: unknown, field: string): Host {
  const host = object(value, field, ['name', 'memoryBytes', 'numaNodes', 'holds'])
  return {
    name: string(host.name, `${field}.name`),
    ...readMemory(host.memoryBytes, field),
    ...(host.numaNodes !== undefined && { numaNodes: list(host.numaNodes, `${field}.numaNodes`, readNode, 1) }),
    ...(host.holds !== undefined && { holds: list(host.holds, `${field}.holds`, readHeld) }),
  }
}

function readNode(value: unknown, field: string): NumaNode {
  return readMemory(object(value, field, ['memoryBytes']).memoryBytes, field)
}

function readWorker(value: unknown, field: string, hosts: ReadonlyMap<string, Host>): Worker {
  const worker = object(value, field, ['name', 'host', 'memoryBytes', 'weight', 'numaNode'])
  const name = string(worker.name, `${field}.name`)
  const hostName = string(worker.host, `${field}.host`)
  const host = hosts.get(hostName)
  if (host === undefined) {
    const candidates = nearest(hostName, hosts.keys())
    const message = `Worker "${name}" is on host "${hostName}", but there is no such host${nearestHint(candidates)}`
    const facts = { worker: name, host: hostName, field: `${field}.host`, candidates }
    throw new PlacementError('HOST_UNKNOWN', message, facts)
  }
  const { weight } = worker
  if (weight !== undefined && !(typeof weight === 'number' && weight > 0 && weight < Number.POSITIVE_INFINITY)) {
    fail(`${field}.weight`, weight, 'a positive number')
  }
  const lastNode = (host.numaNodes?.length ?? 1) - 1
  return {
    name,
    host: hostName,
    ...readMemory(worker.memoryBytes, field),
    ...(weight !== undefined && { weight: weight as number }),
    ...(worker.numaNode !== undefined && { numaNode: integer(worker.numaNode, `${field}.numaNode`, 0, lastNode) }),
  }
}

function readMemory(value: unknown, owner: string): { readonly memoryBytes?: number } {
  return value === undefined ? {} : { memoryBytes: integer(value, `${owner}.memoryBytes`, 1) }
}

/** Only the form: whether the ranges fit shows when the tensor is known. */
function readHeld(value: unknown, field: string): SelectedTensor {
  const held = object(value, field, ['name', 'ranges'])
  const name = string(held.name, `${field}.name`)
  if (held.ranges === undefined) return { name }
  return { name, ranges: list(held.ranges, `${field}.ranges`, readRange) }
}

function readRange(value: unknown, field: string): SelectedRange {
  const parts = array(value, field, 1)
  if (!Array.isArray(parts[0])) return readExtent(parts, field)
  if (parts.length === 1) fail(field, value, '[start, stop], or several such')
  const extents = list(parts, field, readExtent)
  for (const [at, [start, stop]] of extents.entries()) {
    const before = extents[at - 1]
    if (start === stop || (before !== undefined && before[1] >= start)) {
      fail(`${field}[${at}]`, extents[at], 'not empty, and to begin behind the end of the one before with a gap')
    }
  }
  return extents
}

function readExtent(value: unknown, field: string): Extent {
  const bounds = array(value, field)
  if (bounds.length !== 2) fail(field, value, '[start, stop]')
  const start = integer(bounds[0], `${field}[0]`, 0)
  return [start, integer(bounds[1], `${field}[1]`, start)]
}

/** @throws PlacementError TOPOLOGY_INVALID naming the second of two with one name */
function refuseTwins(named: readonly { readonly name: string }[], field: string): void {
  const first = new Map<string, number>()
  for (const [at, { name }] of named.entries()) {
    const other = first.get(name)
    if (other !== undefined) fail(`${field}[${at}].name`, name, `another name than that of ${field}[${other}]`)
    first.set(name, at)
  }
}
