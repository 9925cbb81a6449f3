import { readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { addonFailure } from '@onecopy/sharedarraybuffer-utils'
import { describe, expect, test } from 'vitest'
import { openCheckpoint, saveCheckpoint, saveRemains } from '../src/index.ts'
import { familyOf } from '../src/save-mark.ts'
import { bytesOf, refusal, startChild, temporaryFolder } from './support.ts'

const ONE = [{ name: 'a', dtype: 'U8' as const, shape: [3], data: new Uint8Array(3).fill(1) }]

describe('familyOf()', () => {
  test.each([
    ['model.safetensors', 'model'],
    ['model-00001-of-00002.safetensors', 'model'],
    ['model.fp16-00001-of-00002.safetensors', 'model.fp16'],
    ['model.safetensors.index.json', 'model'],
    ['model.safetensors.index.fp16.json', 'model.fp16'],
    ['config.json', null],
    ['notes.txt', null],
  ])('of %j is %j', (name, family) => expect(familyOf(name)).toBe(family))
})

describe.skipIf(addonFailure !== null)('two savers in one folder', () => {
  test('the second is refused with the pid of the first, and changes nothing', async () => {
    const folder = temporaryFolder()
    const first = startChild('save-slowly.mjs', [folder])
    await first.said('saving')
    const before = readdirSync(folder).sort()
    const error = await refusal(saveCheckpoint(folder, ONE))
    expect(error).toMatchObject({ code: 'SAVE_IN_PROGRESS', path: folder })
    expect(error.message).toContain(`process ${(error as { pid?: number }).pid} is saving there`)
    expect(readdirSync(folder).sort()).toEqual(before)
    first.write('go on')
    expect(await first.ended).toMatchObject({ code: 0, errors: '' })
    expect(readdirSync(folder)).toEqual(['model.safetensors'])
    using checkpoint = await openCheckpoint(folder)
    expect(bytesOf(checkpoint.tensor('a').buffer)).toEqual(new Uint8Array(3).fill(7))
  })

  test('also within one process, and by another path of the folder', async () => {
    const folder = temporaryFolder()
    const link = join(temporaryFolder(), 'link')
    symlinkSync(folder, link)
    const answers = await Promise.allSettled([saveCheckpoint(folder, ONE), saveCheckpoint(link, ONE)])
    expect(answers.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    const refused = answers.find((answer) => answer.status === 'rejected')
    expect(refused?.reason).toMatchObject({ code: 'SAVE_IN_PROGRESS', pid: process.pid })
    expect(readdirSync(folder)).toEqual(['model.safetensors'])
  })

  test('save at the same time under another variant', async () => {
    const folder = temporaryFolder()
    await Promise.all(['ema', 'fp16'].map((variant) => saveCheckpoint(folder, ONE, { variant })))
    expect(readdirSync(folder).sort()).toEqual(['model.ema.safetensors', 'model.fp16.safetensors'])
  })

  test.each([
    ['process is killed', []],
    ['thread is terminated', ['thread']],
  ])('the second may go on when the first one’s %s, and removes what that left', async (_, args) => {
    const folder = temporaryFolder()
    await saveCheckpoint(folder, ONE)
    const first = startChild('save-slowly.mjs', [folder, ...args])
    if (args.length === 0) {
      await first.said('saving')
      first.kill()
      await first.ended
    } else {
      await first.said('terminated')
    }
    const { saves, leftovers } = await saveRemains(folder)
    expect(saves).toMatchObject([{ family: 'model', running: false, whole: true }])
    expect(leftovers).toEqual(['.model.saving', expect.stringMatching(/^model\.safetensors\.[0-9a-f-]{36}\.tmp$/)])
    using checkpoint = await openCheckpoint(folder)
    expect(bytesOf(checkpoint.tensor('a').buffer)).toEqual(new Uint8Array(3).fill(1))
    await saveCheckpoint(folder, ONE)
    expect(readdirSync(folder)).toEqual(['model.safetensors'])
    first.write('end')
  })
})

describe.skipIf(addonFailure !== null)('saveRemains()', () => {
  test('does not count the files of a save that runs, nor those of others', async () => {
    const folder = temporaryFolder()
    for (const name of ['model.safetensors.tmp', 'x.safetensors.incomplete', 'weights.tmp']) {
      writeFileSync(join(folder, name), '')
    }
    const running = startChild('save-slowly.mjs', [folder])
    await running.said('saving')
    expect(await saveRemains(folder)).toMatchObject({
      saves: [{ family: 'model', running: true, whole: true }],
      leftovers: [],
    })
    running.kill()
    await running.ended
    await saveCheckpoint(folder, ONE)
    const others = ['model.safetensors', 'model.safetensors.tmp', 'weights.tmp', 'x.safetensors.incomplete']
    expect(readdirSync(folder).sort()).toEqual(others)
  })
})
