import { expect, it } from 'vitest'
import { HAS_ADDON } from './has-addon.ts'
import { mappedMemory, startReader } from './processes.ts'
import { temporaryFolder, writeSprinkledCheckpoint } from './support.ts'

it('two processes that open the same files share every page without a coordinator', {
  skip: !HAS_ADDON,
}, async () => {
  const { folder, byteLength, checksums } = writeSprinkledCheckpoint(temporaryFolder(), {
    shards: 2,
    tensorsInEach: 4,
    tensorBytes: 8 * 2 ** 20,
  })
  const first = await startReader({ path: folder })
  expect(await first.ask('checksums')).toEqual(checksums)
  const alone = mappedMemory(first.pid, folder)
  expect(alone.pssBytes / byteLength).toBeCloseTo(1, 2)

  const second = await startReader({ path: folder })
  expect(await second.ask('checksums')).toEqual(checksums)
  for (const { pid } of [first, second]) {
    const memory = mappedMemory(pid, folder)
    expect(memory.rssBytes / byteLength).toBeCloseTo(1, 2)
    expect(memory.pssBytes / byteLength).toBeCloseTo(0.5, 2)
  }
})
