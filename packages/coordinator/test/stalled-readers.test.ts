import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { connectUnix } from '@onecopy/sharedarraybuffer-utils'
import { expect, it, onTestFinished } from 'vitest'
import { frame } from './frames.ts'
import { CoordinatorProcess, saveModel, TestClient, temporaryFolder } from './support.ts'

const MAX_FILES = 600

/** The kernel counts descriptors that are under way only for those without these capabilities, which services have not. */
const ORDINARY = ['setpriv', '--bounding-set=-sys_resource,-sys_admin', '--']
const LIMITED = ['prlimit', `--nofile=${MAX_FILES}:${MAX_FILES}`, '--', ...(process.geteuid?.() === 0 ? ORDINARY : [])]

const canLimit = spawnSync(LIMITED[0]!, [...LIMITED.slice(1), 'true']).status === 0

it.skipIf(!canLimit)('a client that attaches again and again and never reads stops nobody else', async () => {
  const folder = temporaryFolder()
  const socket = join(folder, 's', 'socket')
  const coordinator = await CoordinatorProcess.start({ socket }, {}, LIMITED)
  await coordinator.ask('publish', 'm', await saveModel(join(folder, 'model'), { shards: 60 }))
  const stalled = connectUnix(socket)
  onTestFinished(() => stalled.close())
  stalled.write(frame({ type: 'hello', protocol: 1, oldestProtocol: 1, name: 'stalled', software: 'none' }))
  const acquires = Array.from({ length: 40 }, (_, id) =>
    frame({ type: 'acquire', id, checkpoint: 'm', version: null, waitMs: 0 }),
  )
  stalled.write(Buffer.concat(acquires))

  const other = await TestClient.connect(socket)
  let leases: number
  do {
    const { message } = await other.ask({ type: 'status' })
    if (message.type !== 'status') return expect.fail(`"${message.type}" was answered`)
    leases = message.status.clients.flatMap((client) => client.leases).reduce((sum, { count }) => sum + count, 0)
  } while (leases < acquires.length)

  for (let round = 0; round < 3; round++) {
    const { granted, descriptors } = await other.acquire('m')
    expect(descriptors).toHaveLength(61)
    await other.release(granted.lease)
  }
})
