import { CheckpointError, SafetensorsError } from '@onecopy/checkpoint'
import { CoordinatorError, ProtocolError } from '@onecopy/protocol'
import { SharedMemoryError } from '@onecopy/sharedarraybuffer-utils'
import { CLIENT_ERROR_CODES, ClientError } from './errors.ts'
import type { Packed, PackedError, Thrown } from './pack-thrown.ts'

type ErrorClass = abstract new (...args: never[]) => Error

const BUILT_IN: ReadonlyMap<string, ErrorClass> = new Map(
  [Error, AggregateError, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError].map((type) => [
    type.name,
    type as ErrorClass,
  ]),
)

/** Ours; of a name that others are likely to have as well, the code tells. */
const OURS: Readonly<Record<string, { readonly type: ErrorClass; readonly codes?: readonly string[] }>> = {
  CheckpointError: { type: CheckpointError },
  ClientError: { type: ClientError, codes: CLIENT_ERROR_CODES },
  CoordinatorError: { type: CoordinatorError },
  ProtocolError: { type: ProtocolError },
  SafetensorsError: { type: SafetensorsError },
  SharedMemoryError: { type: SharedMemoryError },
}

/**
 * What a task threw, from what its thread sent; whatever else a task ended with comes back as it is. Errors are of the
 * same class when it is built in or ours, else of the nearest such class above it, with the name that they had.
 */
export function unpackThrown(reason: unknown): unknown {
  if (!isThrown(reason)) return reason
  const packed = reason['onecopy:thrown']
  if ('lost' in packed) return new TypeError(`The task threw what cannot be sent between threads: ${packed.lost}`)
  return unpack(packed, new Map())
}

function isThrown(reason: unknown): reason is Thrown {
  return typeof reason === 'object' && reason !== null && Object.hasOwn(reason, 'onecopy:thrown')
}

function unpack(packed: Exclude<Packed, { lost: string }>, made: Map<PackedError, Error>): unknown {
  if ('value' in packed) return packed.value
  if ('error' in packed) return made.get(packed.error) ?? unpackError(packed.error, made)
  return packed.list.flatMap((entry) => ('lost' in entry ? [] : [unpack(entry, made)]))
}

function unpackError(packed: PackedError, made: Map<PackedError, Error>): Error {
  const error = construct(packed)
  made.set(packed, error)
  const define = (key: string, value: unknown, enumerable: boolean): void => {
    Object.defineProperty(error, key, { value, enumerable, configurable: true, writable: true })
  }
  if (packed.stack !== null) define('stack', packed.stack, false)
  for (const { key, packed: field, enumerable } of packed.fields) {
    if (!('lost' in field)) define(key, unpack(field, made), enumerable)
  }
  const [name = 'Error'] = packed.names
  if (error.name !== name) define('name', name, false)
  if (packed.code !== null && (error as { code?: unknown }).code !== packed.code) define('code', packed.code, true)
  return error
}

function construct({ names, message, code }: PackedError): Error {
  const [name = 'Error', ...classes] = names
  if (classes.includes('DOMException')) return new DOMException(message, name)
  const ours = OURS[name]
  const isOurs = ours !== undefined && typeof code === 'string' && (ours.codes?.includes(code) ?? true)
  const type = isOurs ? ours.type : classes.map((each) => BUILT_IN.get(each)).find((each) => each !== undefined)
  // An error like any other, of that class; its constructor is not asked, its fields are among the others.
  return Reflect.construct(Error, [message], type ?? Error) as Error
}
