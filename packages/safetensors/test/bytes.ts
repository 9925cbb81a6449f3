import { SafetensorsError, type SafetensorsErrorCode } from '../src/errors.ts'

/** The UTF-8 of a string. */
export function utf8(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text)
}

/** A safetensors file: the length of the header, the header as it is, and `data` zeros (or the bytes given). */
export function file(header: string | Uint8Array, data: number | Uint8Array = 0): Uint8Array<ArrayBuffer> {
  const json = typeof header === 'string' ? utf8(header) : header
  const body = typeof data === 'number' ? new Uint8Array(data) : data
  const bytes = new Uint8Array(8 + json.length + body.length)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true)
  bytes.set(json, 8)
  bytes.set(body, 8 + json.length)
  return bytes
}

/** A member of a header's object. */
export function entry(name: string, dtype: string, shape: string, offsets: string): string {
  return `${JSON.stringify(name)}:{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}`
}

/** The SafetensorsError that `run` throws; any other outcome fails the test. */
export function thrownBy(run: () => unknown): SafetensorsError {
  try {
    run()
  } catch (error) {
    if (error instanceof SafetensorsError) return error
    throw error
  }
  throw new RangeError('nothing was thrown')
}

/** The code of the SafetensorsError that `run` throws, `ok` if it returns. */
export function outcome(run: () => unknown): SafetensorsErrorCode | 'ok' {
  try {
    run()
    return 'ok'
  } catch (error) {
    if (error instanceof SafetensorsError) return error.code
    throw error
  }
}
