import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import {
  type MeshShape,
  type ModelConfig,
  type Objective,
  oneHost,
  type Policy,
  PRESETS,
  type PresetName,
  presetFor,
  readPolicy,
  readTopology,
  type Topology,
} from '@onecopy/placement'
import { CommandError } from '../../errors.ts'
import type { PlannedSource } from './read-index.ts'

/** What the command line says of a placement. */
export interface PlanSettings {
  readonly tp?: number
  readonly pp?: number
  readonly ep?: number
  readonly replicas?: number
  readonly hosts?: string
  readonly policy?: string
  readonly config?: string
  readonly objective?: Objective
}

/** A policy, and in words where it is from. */
export interface ChosenPolicy {
  readonly policy: Policy
  readonly origin: string
  /** The model's own configuration; null where there is none. */
  readonly config: ModelConfig | null
}

const AXES = ['tp', 'pp', 'ep', 'replicas'] as const

/**
 * The policy from a file, or the preset of that name, or the preset that fits the tensors' names.
 * @throws CommandError FILE_INVALID, POLICY_MISSING; PlacementError POLICY_INVALID, RULES_CONTRADICT
 */
export async function policyOf(source: PlannedSource, settings: PlanSettings): Promise<ChosenPolicy> {
  const { policy: wanted, objective } = settings
  const mesh: MeshShape = Object.fromEntries(
    AXES.flatMap((axis) => (settings[axis] === undefined ? [] : [[axis, settings[axis]]])),
  )
  const chosen = { ...(objective && { objective }) }
  const named = wanted === undefined || !Object.hasOwn(PRESETS, wanted) ? null : (wanted as PresetName)
  const { config, path } = await readConfig(source, settings)
  if (wanted !== undefined && named === null) {
    return { policy: readPolicy(overlaid(await readPolicyFile(wanted), mesh, chosen)), origin: wanted, config }
  }
  const names = source.index.tensors.map(({ name }) => name)
  const preset = named ?? presetFor(names, config)
  if (preset !== null) {
    const known = path === null ? 'without config.json, so that heads are not known (--config)' : `with ${path}`
    return { policy: { ...PRESETS[preset](mesh, config), ...chosen }, origin: `preset ${preset}, ${known}`, config }
  }
  const message = `The tensors' names are of no model family with a preset (${PRESET_NAMES}); give a policy with --policy`
  throw new CommandError('POLICY_MISSING', message)
}

const PRESET_NAMES = Object.keys(PRESETS).join(', ')

/** A policy as its file has it, with what the command line says instead; whether it is one is checked afterwards. */
function overlaid(policy: unknown, mesh: MeshShape, chosen: Partial<Policy>): unknown {
  if (!isObject(policy)) return policy
  const own = policy['mesh'] ?? {}
  return { ...policy, ...chosen, ...(isObject(own) && { mesh: { ...own, ...mesh } }) }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

async function readPolicyFile(path: string): Promise<unknown> {
  try {
    return await readJson(path)
  } catch (error) {
    if (!isMissing(error)) throw error
    const message = `There is no policy file "${path}", and no preset of that name; presets are ${PRESET_NAMES}`
    throw new CommandError('FILE_INVALID', message, { cause: error })
  }
}

/** The hosts and workers from a file, or as many workers on one host as the mesh has places. */
export async function topologyOf({ mesh = {} }: Policy, { hosts }: PlanSettings): Promise<Topology> {
  if (hosts !== undefined) return readTopology(await readJson(hosts))
  const { pp = 1, tp = 1, ep = 1, replicas = 1 } = mesh
  return oneHost(pp * tp * ep * replicas)
}

/** The model's own configuration: the file that was named, or what lies beside the checkpoint. */
async function readConfig(
  { besides }: PlannedSource,
  { config: named }: PlanSettings,
): Promise<{ readonly config: ModelConfig | null; readonly path: string | null }> {
  if (named === undefined && besides === null) return { config: null, path: null }
  const path = named ?? join(dirname(besides!), 'config.json')
  let config: unknown
  try {
    config = await readJson(path)
  } catch (error) {
    if (named === undefined && isMissing(error)) return { config: null, path: null }
    throw error
  }
  if (!isObject(config)) throw new CommandError('FILE_INVALID', `"${path}" must hold a JSON object`)
  return { config, path }
}

/** Whether an error of `readJson` says that there is no such file. */
function isMissing(error: unknown): boolean {
  return (error as { readonly cause?: NodeJS.ErrnoException }).cause?.code === 'ENOENT'
}

/** @throws CommandError FILE_INVALID naming the file */
export async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8'))
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new CommandError('FILE_INVALID', `Cannot read "${path}" as JSON: ${reason}`, { cause })
  }
}
