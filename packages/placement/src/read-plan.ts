import { DTYPE_NAMES, type Extent, type SelectedRange } from '@onecopy/safetensors'
import { PlacementError } from './errors.ts'
import { type Fields, fieldsOf } from './fields.ts'
import { getOrMake } from './get-or-make.ts'
import type { HostTotals, Part, PlacedTensor, PlanData, PlannedHost, PlannedWorker, PlanTotals } from './plan-data.ts'
import { OBJECTIVES } from './policy.ts'

const { fail, integer, list, object, oneOf, string }: Fields = fieldsOf('PLAN_INVALID', 'plan')

const PLAN_FIELDS = [
  'format',
  'version',
  'layout',
  'mesh',
  'objective',
  'hosts',
  'workers',
  'shards',
  'reasons',
  'tensors',
  'totals',
] as const

const EXTENTS = '[start, stop], or several such that are not empty, rise and do not touch'

/**
 * Reads a plan's JSON and checks the form of every field, not yet what they mean together. Tensors whose parts are written
 * alike share one array of them, so that what is worked out from it can be remembered.
 *
 * @throws PlacementError PLAN_INVALID with `field`, and the nearest names for a field that there is not
 */
export function readPlan(json: string | Uint8Array): PlanData {
  const plan = object(parseJson(json), '', PLAN_FIELDS)
  const format = oneOf(plan.format, 'format', ['onecopy-plan'])
  if (plan.version !== 1) fail('version', plan.version, '1, the only one there is')
  const layout = string(plan.layout, 'layout')
  if (!/^[0-9a-f]{64}$/.test(layout)) fail('layout', layout, 'a sha256 in hexadecimal digits')
  const mesh = object(plan.mesh, 'mesh', ['pp', 'tp', 'ep', 'replicas'])
  return {
    format,
    version: 1,
    layout,
    mesh: {
      pp: integer(mesh.pp, 'mesh.pp', 1),
      tp: integer(mesh.tp, 'mesh.tp', 1),
      ep: integer(mesh.ep, 'mesh.ep', 1),
      replicas: integer(mesh.replicas, 'mesh.replicas', 1),
    },
    objective: oneOf(plan.objective, 'objective', OBJECTIVES),
    hosts: list(plan.hosts, 'hosts', readHost),
    workers: list(plan.workers, 'workers', readWorker),
    shards: list(plan.shards, 'shards', (value, field) => {
      const shard = object(value, field, ['name', 'byteLength'])
      return { name: string(shard.name, `${field}.name`), byteLength: count(shard.byteLength, `${field}.byteLength`) }
    }),
    reasons: list(plan.reasons, 'reasons', text),
    tensors: list(plan.tensors, 'tensors', tensorReader()),
    totals: readTotals(plan.totals),
  }
}

function parseJson(json: string | Uint8Array): unknown {
  try {
    return JSON.parse(typeof json === 'string' ? json : new TextDecoder('utf-8', { fatal: true }).decode(json))
  } catch (cause) {
    throw new PlacementError('PLAN_INVALID', `A plan must be JSON: ${(cause as Error).message}`, { cause })
  }
}

function readHost(value: unknown, field: string): PlannedHost {
  const host = object(value, field, ['name', 'memoryBytes', 'numaNodes'])
  const readNode = (node: unknown, at: string) => {
    return { memoryBytes: limit(object(node, at, ['memoryBytes']).memoryBytes, `${at}.memoryBytes`) }
  }
  return {
    name: string(host.name, `${field}.name`),
    memoryBytes: limit(host.memoryBytes, `${field}.memoryBytes`),
    numaNodes: list(host.numaNodes, `${field}.numaNodes`, readNode, 1),
  }
}

function readWorker(value: unknown, field: string): PlannedWorker {
  const fields = ['name', 'host', 'numaNode', 'memoryBytes', 'replica', 'pp', 'ep', 'tp'] as const
  const worker = object(value, field, fields)
  return {
    name: string(worker.name, `${field}.name`),
    host: string(worker.host, `${field}.host`),
    numaNode: count(worker.numaNode, `${field}.numaNode`),
    memoryBytes: limit(worker.memoryBytes, `${field}.memoryBytes`),
    replica: count(worker.replica, `${field}.replica`),
    pp: count(worker.pp, `${field}.pp`),
    ep: count(worker.ep, `${field}.ep`),
    tp: count(worker.tp, `${field}.tp`),
  }
}

function tensorReader(): (value: unknown, field: string) => PlacedTensor {
  const fields = ['name', 'dtype', 'shape', 'shard', 'begin', 'end', 'reason', 'parts'] as const
  const known = new Map<string, readonly Part[]>()
  return (value, field) => {
    const tensor = object(value, field, fields)
    // Most tensors are placed as another one is: what is the same text is checked, and kept, once.
    const parts = getOrMake(known, textOf(tensor.parts), () => list(tensor.parts, `${field}.parts`, readPart))
    return {
      name: text(tensor.name, `${field}.name`),
      dtype: oneOf(tensor.dtype, `${field}.dtype`, DTYPE_NAMES),
      shape: list(tensor.shape, `${field}.shape`, count),
      shard: count(tensor.shard, `${field}.shard`),
      begin: count(tensor.begin, `${field}.begin`),
      end: count(tensor.end, `${field}.end`),
      reason: count(tensor.reason, `${field}.reason`),
      parts,
    }
  }
}

/** A value from JSON as JSON; empty for what is missing, or nested too deeply to be written, neither of which is ever known. */
function textOf(value: unknown): string {
  try {
    return JSON.stringify(value) ?? ''
  } catch {
    return ''
  }
}

function readPart(value: unknown, field: string): Part {
  const part = object(value, field, ['ranges', 'workers'])
  const workers = list(part.workers, `${field}.workers`, count, 1)
  const falls = workers.findIndex((worker, at) => at > 0 && workers[at - 1]! >= worker)
  if (falls > 0)
    fail(`${field}.workers[${falls}]`, workers[falls], `more than ${workers[falls - 1]}, the one before it`)
  return { ranges: list(part.ranges, `${field}.ranges`, readRange), workers }
}

function readRange(value: unknown, field: string): SelectedRange {
  if (!Array.isArray(value)) return fail(field, value, EXTENTS)
  if (typeof value[0] === 'number') return readExtent(value, field)
  const extents = value.map((extent, at) => readExtent(extent, `${field}[${at}]`))
  const rises = extents.every(([start, stop], at) => start < stop && (at === 0 || extents[at - 1]![1] < start))
  return extents.length > 1 && rises ? extents : fail(field, value, EXTENTS)
}

function readExtent(value: unknown, field: string): Extent {
  if (!Array.isArray(value) || value.length !== 2) return fail(field, value, EXTENTS)
  const start = count(value[0], `${field}[0]`)
  return [start, integer(value[1], `${field}[1]`, start)]
}

function readTotals(value: unknown): PlanTotals {
  const totals = object(value, 'totals', ['byteLength', 'workers', 'hosts'])
  return {
    byteLength: count(totals.byteLength, 'totals.byteLength'),
    workers: list(totals.workers, 'totals.workers', count),
    hosts: list(totals.hosts, 'totals.hosts', (entry, field): HostTotals => {
      const host = object(entry, field, ['uniqueBytes', 'arenaBytes', 'numaNodes'])
      return {
        uniqueBytes: count(host.uniqueBytes, `${field}.uniqueBytes`),
        arenaBytes: count(host.arenaBytes, `${field}.arenaBytes`),
        numaNodes: list(host.numaNodes, `${field}.numaNodes`, count),
      }
    }),
  }
}

/** Unlike the name of a worker or host, that of a tensor may be empty. */
function text(value: unknown, field: string): string {
  return typeof value === 'string' ? value : fail(field, value, 'a string')
}

function count(value: unknown, field: string): number {
  return integer(value, field, 0)
}

/** A memory limit in bytes, null for none. */
function limit(value: unknown, field: string): number | null {
  return value === null ? null : count(value, field)
}
