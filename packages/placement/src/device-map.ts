import { checkArgument, checkOptions, rules as known, moduleGlob, quoteName } from '@onecopy/safetensors'
import { parseByteSize } from './byte-size.ts'
import { PlacementError } from './errors.ts'
import { show } from './fields.ts'
import type { MeshShape, Pattern, Policy, Rule } from './policy.ts'
import { readMesh } from './read-policy.ts'
import type { Topology } from './topology.ts'

/** Accelerate's `device_map`: devices by module, `''` for everything. */
export type DeviceMap = Readonly<Record<string, string | number>>

/** Accelerate's `max_memory`: bytes by device, or texts such as `10GiB`. */
export type MaxMemory = Readonly<Record<string | number, string | number>>

export interface DeviceMapOptions {
  /** The worker of each device. @default a device's worker is named like it: `0`, `cuda:1`, `cpu` */
  readonly devices?: Readonly<Record<string, string>>
  /** Everything is pinned, so that only the number of places counts. @default a place for each worker that is named */
  readonly mesh?: MeshShape
}

export interface MaxMemoryOptions {
  /** The host of all devices. @default `localhost` */
  readonly host?: string
  /**
   * Patterns of tensors that stay on one device, those with the same captures together; accelerate's
   * `no_split_module_classes`. @default the blocks of the usual models: what is below `layers.0`, `h.0` or `blocks.0`
   */
  readonly noSplit?: readonly Pattern[]
  /** As in a policy: names of one and the same tensor. @default none */
  readonly tied?: readonly (readonly string[])[]
}

/** Where transformers' models keep their blocks. */
const BLOCKS: readonly Pattern[] = ['{,**.}{layers,h,blocks,block}.{layer}.**']

/** Accelerate's own order, behind the numbered devices. */
const NAMED_DEVICES = ['mps', 'cpu']

/**
 * A policy that puts modules where accelerate's device map says: of several modules that a tensor is in, the innermost
 * counts. A tensor in none of them is not covered, and so an error when planning.
 *
 * @throws PlacementError POLICY_INVALID for an empty map, for what is no device, and for `disk` without a worker: what
 * accelerate leaves on disk is held by nobody
 */
export function fromDeviceMap(deviceMap: DeviceMap, options: DeviceMapOptions = {}): Policy {
  checkArgument('The device map of fromDeviceMap()', deviceMap, known.object)
  checkOptions('fromDeviceMap()', options, { devices: known.object, mesh: null })
  const modules = Object.entries(deviceMap)
  if (modules.length === 0) throw invalid('deviceMap', 'The device map is empty: it must name a module, or "" for all')
  const devices = new Map(Object.entries(options.devices ?? {}))
  const rules = modules
    .map(([module, device]): { readonly module: string; readonly worker: string; readonly entry: string } => {
      const field = `deviceMap[${JSON.stringify(module)}]`
      const valid = typeof device === 'number' ? Number.isSafeInteger(device) && device >= 0 : isName(device)
      if (!valid) throw invalid(field, `${field} is ${show(device)}: it must be the number or the name of a device`)
      const worker = devices.get(String(device))
      if (worker === undefined && device === 'disk') {
        throw invalid(field, `${field} is "disk", which is no worker: name the one to hold the module in devices.disk`)
      }
      return { module, worker: worker ?? String(device), entry: field }
    })
    // The longer of two names that a tensor's name begins with is the inner module.
    .sort((a, b) => b.module.length - a.module.length || (a.module < b.module ? -1 : 1))
    .map(
      ({ module, worker, entry }): Rule => ({ match: module === '' ? '**' : moduleGlob(module), pin: worker, entry }),
    )
  const workers = new Set(rules.map(({ pin }) => pin))
  return { mesh: options.mesh === undefined ? { pp: workers.size } : readMesh(options.mesh), rules }
}

/**
 * What accelerate's `infer_auto_device_map` does with `max_memory`: fills one device after the other in the order of the
 * modules (that of the file, where its tensors are not simply sorted by name), numbered devices first, then `mps` and
 * `cpu`, without tearing blocks apart. A device with 0 bytes gets
 * nothing, and so is no worker. Unlike accelerate it keeps no room for a layer that is brought in from elsewhere, since
 * none is.
 *
 * @returns a topology with a worker for each device, named like it, and the policy to go with it
 * @throws PlacementError TOPOLOGY_INVALID for what is no device or no size, when nothing is left, and for `disk`, which
 * holds nothing: leave it out, and planning says how much memory is missing
 */
export function fromMaxMemory(
  maxMemory: MaxMemory,
  options: MaxMemoryOptions = {},
): { readonly topology: Topology; readonly policy: Policy } {
  checkArgument('The memory of fromMaxMemory()', maxMemory, known.object)
  const isList = { must: 'a list of patterns', isKind: Array.isArray }
  checkOptions('fromMaxMemory()', options, { host: known.text, noSplit: isList, tied: null })
  const { host = 'localhost', noSplit = BLOCKS, tied } = options
  const sizes = new Map<string, number>()
  for (const [device, size] of Object.entries(maxMemory)) {
    const field = `maxMemory[${JSON.stringify(device)}]`
    if (device === 'disk') {
      throw invalidTopology(field, `${field} is memory of no worker: what is left on disk is held by nobody`)
    }
    if (!isNumber(device) && !NAMED_DEVICES.includes(device)) {
      const names = NAMED_DEVICES.map((name) => quoteName(name)).join(', ')
      throw invalidTopology(
        field,
        `${quoteName(device)} is no device of accelerate: it must be a number or one of ${names}`,
      )
    }
    const bytes = parseByteSize(size)
    if (bytes === null) {
      throw invalidTopology(field, `${field} is ${show(size)}: it must be bytes, or a text such as "10GiB" or "5.0GB"`)
    }
    if (bytes > 0) sizes.set(device, bytes)
  }
  if (sizes.size === 0) throw invalidTopology('maxMemory', 'No device has any memory: one at least must have some')
  const numbered = [...sizes.keys()].filter(isNumber).sort((a, b) => Number(a) - Number(b))
  const devices = [...numbered, ...NAMED_DEVICES.filter((name) => sizes.has(name))]
  return {
    topology: {
      hosts: [{ name: host }],
      workers: devices.map((name) => ({ name, host, memoryBytes: sizes.get(name)! })),
    },
    policy: {
      mesh: { pp: devices.length },
      rules: [{ match: '**', replicate: true, stage: 'auto' }],
      together: noSplit.map((pattern) => [pattern]),
      ...(tied !== undefined && { tied }),
      objective: 'sequential',
    },
  }
}

function isNumber(device: string): boolean {
  return /^\d+$/.test(device)
}

function isName(device: unknown): boolean {
  return typeof device === 'string' && device !== ''
}

function invalid(field: string, message: string): PlacementError {
  return new PlacementError('POLICY_INVALID', message, { field })
}

function invalidTopology(field: string, message: string): PlacementError {
  return new PlacementError('TOPOLOGY_INVALID', message, { field })
}
