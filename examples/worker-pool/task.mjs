import { threadId } from 'node:worker_threads'
import { weights } from 'onecopy/worker'

export default function norm(name) {
  const values = weights().tensor(name).toFloat32()
  return { name, norm: Math.sqrt(values.reduce((sum, value) => sum + value * value, 0)), thread: threadId }
}
