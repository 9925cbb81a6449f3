import { SafetensorsError, type SafetensorsErrorCode, type SafetensorsErrorFields } from '@onecopy/safetensors'
import {
  SharedMemoryError,
  type SharedMemoryErrorCode,
  type SharedMemoryErrorFields,
} from '@onecopy/sharedarraybuffer-utils'
import { CheckpointError, type CheckpointErrorCode, type CheckpointErrorFields } from './errors.ts'
import type { StrictParser } from './strict-parser.ts'

/** What the thread of the strict parsers is asked. */
export type StrictQuestion =
  | { readonly method: 'readIndex'; readonly args: Parameters<StrictParser['readIndex']> }
  | { readonly method: 'layOut'; readonly args: Parameters<StrictParser['layOut']> }

/** What it answers. */
export type StrictAnswer = { readonly value: readonly string[] | SharedArrayBuffer } | { readonly error: PackedError }

/** An error as plain data: neither classes nor the fields of errors survive the way between threads. */
export type PackedError =
  | { kind: 'safetensors'; code: SafetensorsErrorCode; message: string; fields: SafetensorsErrorFields }
  | { kind: 'checkpoint'; code: CheckpointErrorCode; message: string; fields: CheckpointErrorFields }
  | { kind: 'memory'; code: SharedMemoryErrorCode; message: string; fields: SharedMemoryErrorFields }
  | { kind: 'other'; error: unknown }

export function packError(error: unknown): PackedError {
  if (error instanceof SafetensorsError) {
    const { code, message, tensor, path, details } = error
    return { kind: 'safetensors', code, message, fields: { tensor, path, details } }
  }
  if (error instanceof CheckpointError) {
    const { code, message, path, tensor, candidates } = error
    const fields = { ...(path !== undefined && { path }), ...(tensor !== undefined && { tensor }) }
    return { kind: 'checkpoint', code, message, fields: { ...fields, ...(candidates && { candidates }) } }
  }
  if (error instanceof SharedMemoryError) {
    const { code, message, path, syscall, errno, errnoName, actualBytes, expectedBytes } = error
    const fields = { path, syscall, errno, errnoName, actualBytes, expectedBytes }
    const known = Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
    return { kind: 'memory', code, message, fields: known }
  }
  return { kind: 'other', error }
}

/** The error that was packed. */
export function unpackError(packed: PackedError): unknown {
  if (packed.kind === 'safetensors') return new SafetensorsError(packed.code, packed.message, packed.fields)
  if (packed.kind === 'checkpoint') return new CheckpointError(packed.code, packed.message, packed.fields)
  if (packed.kind === 'memory') return new SharedMemoryError(packed.code, packed.message, packed.fields)
  return packed.error
}
