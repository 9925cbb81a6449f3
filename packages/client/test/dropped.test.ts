import { join } from 'node:path'
import { attach } from '@onecopy/client'
import { mappingCount } from '@onecopy/sharedarraybuffer-utils'
import { expect, it } from 'vitest'
import { collectGarbage, collectUntil } from '../../../test/until.ts'
import { leasesOf, Program, saveMatrices, statusWhere, temporaryFolder } from './support.ts'

const COLUMNS = { tensors: [{ name: 'o', ranges: [[0, 64] as const, [0, 8] as const] }] }

it.each([
  ['whole', {}],
  ['parts', { selection: COLUMNS }],
])(
  'attachments that are dropped without being closed are collected, and their leases given back: %s',
  async (_, part) => {
    const folder = temporaryFolder()
    const socket = join(folder, 's', 'socket')
    const coordinator = await Program.start('coordinator.mjs', socket)
    const model = await saveMatrices(join(folder, 'model'))
    const before = mappingCount()
    let kept: unknown
    for (let fill = 1; fill <= 5; fill++) {
      await coordinator.ask('publish', 'm', await saveMatrices(model, { fill }), { backing: 'sealed' })
      const checkpoint = await attach({ socket, checkpoint: 'm', ...part })
      checkpoint.on('version', () => checkpoint.version)
      kept = checkpoint.tensor('o').data
    }
    await statusWhere(coordinator, (status) => {
      collectGarbage()
      return leasesOf(status).length === 0
    })
    // Bytes that somebody reads stay, whatever became of the checkpoint.
    expect((kept as Float32Array)[0]).toBe(5003)
    kept = undefined
    await collectUntil(() => mappingCount() <= before)
    const { checkpoints, heldBytes } = await statusWhere(coordinator, () => true)
    expect(checkpoints[0]!.versions).toHaveLength(1)
    expect(heldBytes).toBe(checkpoints[0]!.versions[0]!.byteLength)
  },
)

it('an attachment that is reached stays, and so does its lease', async () => {
  const folder = temporaryFolder()
  const socket = join(folder, 's', 'socket')
  const coordinator = await Program.start('coordinator.mjs', socket)
  await coordinator.ask('publish', 'm', await saveMatrices(join(folder, 'model')))
  const kept = await attach({ socket, checkpoint: 'm' })
  const drop = async (): Promise<void> => void (await attach({ socket, checkpoint: 'm' }))
  await drop()
  await statusWhere(coordinator, (status) => {
    collectGarbage()
    return leasesOf(status).length <= 1
  })
  for (let round = 0; round < 5; round++) collectGarbage()
  expect(leasesOf(await statusWhere(coordinator, () => true))).toEqual(['m@1'])
  kept.close()
})
