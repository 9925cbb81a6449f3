/** Just enough msgpack for messages: maps, lists, text below 64 KiB, whole numbers, null and booleans. */
function msgpack(value: unknown): Buffer {
  if (value === null) return Buffer.of(0xc0)
  if (typeof value === 'boolean') return Buffer.of(value ? 0xc3 : 0xc2)
  if (typeof value === 'number') {
    const bytes = Buffer.alloc(9, 0xcf)
    bytes.writeBigUInt64BE(BigInt(value), 1)
    return bytes
  }
  if (typeof value === 'string') {
    const text = Buffer.from(value)
    return Buffer.concat([Buffer.of(0xda, text.byteLength >> 8, text.byteLength & 255), text])
  }
  const parts = Array.isArray(value) ? value : Object.entries(value as object).flat()
  const count = Array.isArray(value) ? parts.length : parts.length / 2
  const head = Buffer.of(Array.isArray(value) ? 0xdc : 0xde, count >> 8, count & 255)
  return Buffer.concat([head, ...parts.map(msgpack)])
}

/** A message as it goes over the wire, made without our own encoder. */
export function frame(message: unknown, descriptors = 0): Buffer {
  const body = msgpack(message)
  return Buffer.concat([header(body.byteLength, descriptors), body])
}

export function header(byteLength: number, descriptors = 0, reserved = 0): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeUInt32LE(byteLength, 0)
  bytes.writeUInt16LE(descriptors, 4)
  bytes.writeUInt16LE(reserved, 6)
  return bytes
}
