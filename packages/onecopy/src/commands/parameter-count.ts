import type { Dtype } from '@onecopy/safetensors'

/** A tensor as it is counted. */
export interface CountedTensor {
  readonly name: string
  readonly dtype: Dtype
  readonly elementCount: number
  readonly shape: readonly number[]
}

/** What `config.json` says of how weights were packed; whatever else stands there may be anything. */
type Config = Readonly<Record<string, unknown>>

/** How weights were quantised. */
interface Quantization {
  readonly method: string
  readonly config: Config
  /** Of the routed experts, where they have another format than the rest. */
  readonly expertFormat: unknown
  /** The modules of MLX that are packed, with the bits of a weight. */
  readonly mlxBits: ReadonlyMap<string, number>
}

/** Bits of the integers that several weights are packed into. */
const CONTAINER_BITS: Partial<Record<Dtype, number>> = { U8: 8, I8: 8, U16: 16, I16: 16, U32: 32, I32: 32 }

/** What stands beside quantised weights and is no parameter: scales, zero points, shapes, orders. */
const COMPANIONS =
  /^(?:weight_(?:scale(?:_inv|_2)?|global_scale|zero_point|shape|g_idx)|input_(?:scale|global_scale|zero_point)|zero_point)$/
const COMPANIONS_OF: Readonly<Record<string, RegExp>> = {
  gptq: /^(?:qzeros|g_idx|scales)$/,
  awq: /^(?:qzeros|g_idx|scales)$/,
  bitsandbytes: /^(?:(?:nested_)?(?:absmax|quant_map)$|bitsandbytes__)/,
}

const FORMAT_BITS: readonly (readonly [RegExp, number])[] = [
  [/fp4|int4|nf4/, 4],
  [/int2/, 2],
]

/**
 * How many parameters each tensor holds, as huggingface.js counts them for the hub (parse-safetensors-metadata.ts, 2026): packed
 * weights by how many were packed; scales and the like, E8M0 data and scalars not at all.
 * @param config what stands in `config.json`; null where there is none
 */
export function countParameters(tensors: readonly CountedTensor[], config: unknown): number[] {
  const quantization = quantizationOf(tensors, config)
  return tensors.map((tensor) => {
    if (tensor.shape.length === 0 || isCompanion(tensor, quantization)) return 0
    return Math.round(tensor.elementCount * packedIn(tensor, quantization))
  })
}

function quantizationOf(tensors: readonly CountedTensor[], config: unknown): Quantization | null {
  if (!isObject(config)) return null
  const text = isObject(config['text_config']) ? config['text_config'] : {}
  const mlx = [config['quantization'], text['quantization']].filter(isObject).find((each) => 'bits' in each)
  const own = [config['quantization_config'], text['quantization_config']].find(isObject)
  const given = mlx ?? own
  if (given === undefined) return null
  const named = given['quant_method']
  const isMlx = mlx !== undefined || (named === undefined && 'bits' in given && 'group_size' in given)
  const method = isMlx ? 'mlx' : typeof named === 'string' ? named.toLowerCase() : ''
  const expertFormat = given['expert_dtype'] ?? config['expert_dtype'] ?? text['expert_dtype'] ?? given['store_dtype']
  const mlxBits = method === 'mlx' ? mlxModules(tensors, given) : new Map<string, number>()
  return { method, config: given, expertFormat, mlxBits }
}

/** A module of MLX is packed where its U32 weight stands beside scales, and for affine ones beside biases too. */
function mlxModules(tensors: readonly CountedTensor[], config: Config): Map<string, number> {
  const names = new Set(tensors.map(({ name }) => name))
  const packed = new Map<string, number>()
  for (const { name, dtype } of tensors) {
    const module = moduleOf(name)
    const override = config[module]
    if (dtype !== 'U32' || suffixOf(name) !== 'weight' || override === false) continue
    const { mode = 'affine', bits = mode === 'mxfp8' ? 8 : 4 } = isObject(override) ? override : config
    const isPacked = names.has(`${module}.scales`) && (mode !== 'affine' || names.has(`${module}.biases`))
    if (isPacked && typeof bits === 'number' && bits > 0) packed.set(module, bits)
  }
  return packed
}

function isCompanion({ name, dtype }: CountedTensor, quantization: Quantization | null): boolean {
  if (dtype === 'F8_E8M0') return true
  if (quantization === null) return false
  const suffix = suffixOf(name)
  if (COMPANIONS.test(suffix)) return true
  const { method, mlxBits } = quantization
  if (method === 'mlx') return mlxBits.has(moduleOf(name)) && /^(?:scales|biases)$/.test(suffix)
  if (method === 'mxfp4') return dtype === 'U8' && suffix.endsWith('_scales')
  if (method !== 'bitsandbytes' && isExempt(name, quantization)) return false
  return COMPANIONS_OF[method]?.test(suffix) ?? false
}

/** How many weights are in one element. */
function packedIn({ name, dtype }: CountedTensor, quantization: Quantization | null): number {
  if (quantization === null || isExempt(name, quantization)) return 1
  const { method, config, mlxBits, expertFormat } = quantization
  const bits = config['bits']
  switch (method) {
    case 'mlx':
      return suffixOf(name) === 'weight' ? ratio(dtype, mlxBits.get(moduleOf(name))) : 1
    case 'mxfp4':
      return dtype === 'U8' && name.includes('_blocks') ? 2 : 1
    case 'gptq':
    case 'awq':
      if (suffixOf(name) === 'qweight') return Math.max(1, Math.floor(32 / (Number(bits) > 0 ? Number(bits) : 4)))
      return dtype === 'U8' && (bits === 4 || bits === 2) ? 8 / bits : 1
    case 'compressed-tensors':
      return ratio(dtype, compressedBits(name, config))
    case 'fp8':
      return name.includes('.experts.') && !name.includes('shared_experts') ? ratio(dtype, formatBits(expertFormat)) : 1
    case 'bitsandbytes':
      return dtype === 'U8' && config['load_in_4bit'] === true ? 2 : 1
    default:
      return dtype === 'U8' && (config['load_in_4bit'] === true || bits === 4) ? 2 : 1
  }
}

/** The bits of a packed weight; undefined where the format of its group packs nothing. */
function compressedBits(name: string, config: Config): number | undefined {
  const groups = Object.values(isObject(config['config_groups']) ? config['config_groups'] : {}).filter(isObject)
  const bitsOf = (group: Config | undefined): unknown =>
    isObject(group?.['weights']) ? group['weights']['num_bits'] : null
  const own = groups.find(({ targets }) => listOf(targets).some((target) => isTarget(target, weightModule(name))))
  const format = own?.['format'] ?? config['format']
  if (typeof format !== 'string' || !format.toLowerCase().endsWith('pack-quantized')) return undefined
  return (Number(bitsOf(own)) || Number(groups.map(bitsOf).find(Boolean)) || formatBits(format)) ?? 4
}

function ratio(dtype: Dtype, bits: number | undefined): number {
  const container = CONTAINER_BITS[dtype]
  return container === undefined || bits === undefined || bits <= 0 || bits >= container ? 1 : container / bits
}

function formatBits(format: unknown): number | undefined {
  return typeof format === 'string'
    ? FORMAT_BITS.find(([pattern]) => pattern.test(format.toLowerCase()))?.[1]
    : undefined
}

/** Whether the quantisation leaves a tensor out. */
function isExempt(name: string, { method, config }: Quantization): boolean {
  if (method === 'mlx') return false
  if (listOf(config['ignore']).some((target) => isTarget(target, weightModule(name)))) return true
  return listOf(config['modules_to_not_convert']).some((part) =>
    part.includes('*') ? glob(part, name) : name.includes(part),
  )
}

/** A target of compressed-tensors: a module, or behind `re:` a pattern, of which only `.*`, `^`, `$` and `\.` are understood. */
function isTarget(target: string, module: string): boolean {
  if (!target.startsWith('re:')) return target === module
  const pattern = target.slice('re:'.length).replace(/^\^/, '')
  const open = pattern.endsWith('$') ? pattern.slice(0, -1) : `${pattern}.*`
  const plain = open.replaceAll('.*', '*').replaceAll('\\.', '.')
  return !/[\\+?()[\]{}|^$]/.test(plain) && glob(plain, module)
}

/** Without a regular expression, since the pattern is a stranger's: each part at its first place is as good as any other. */
function glob(pattern: string, text: string): boolean {
  const [first = '', ...rest] = pattern.split('*')
  const last = rest.pop()
  if (last === undefined) return pattern === text
  if (!text.startsWith(first) || !text.endsWith(last)) return false
  let at = first.length
  for (const part of rest) {
    const found = text.indexOf(part, at)
    if (found === -1) return false
    at = found + part.length
  }
  return at <= text.length - last.length
}

function listOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === 'string') : []
}

function isObject(value: unknown): value is Config {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function weightModule(name: string): string {
  const at = name.lastIndexOf('.weight')
  return at === -1 ? name : name.slice(0, at)
}

function moduleOf(name: string): string {
  const at = name.lastIndexOf('.')
  return at === -1 ? name : name.slice(0, at)
}

function suffixOf(name: string): string {
  return name.slice(name.lastIndexOf('.') + 1)
}
