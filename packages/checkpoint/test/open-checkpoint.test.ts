import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DTYPE_NAMES } from '@onecopy/safetensors'
import { addonFailure, mapDescriptor, processMemory } from '@onecopy/sharedarraybuffer-utils'
import { describe, expect, test } from 'vitest'
import { openCheckpoint, openHeaders, type Progress } from '../src/index.ts'
import { closeShards } from '../src/open-shard.ts'
import { readHeaders } from '../src/read-headers.ts'
import {
  adoptingWorker,
  bytesOf,
  expectNothingOpen,
  fileOf,
  HAS_ADDON,
  mappingsIn,
  type RawTensor,
  refusal,
  runChild,
  sha256,
  startChild,
  temporaryFolder,
  tensor,
  write,
  writeSharded,
} from './support.ts'

const SHARDS: readonly (readonly RawTensor[])[] = [
  [tensor('first', 'U8', [3]), ...DTYPE_NAMES.map((dtype) => tensor(dtype, dtype, [2, 4]))],
  [tensor('second', 'F32', [5, 5]), tensor('empty', 'F32', [0])],
]
const EXPECTED = SHARDS.flat().map(({ name, dtype, shape, bytes }) => ({ name, dtype, shape, sha256: sha256(bytes) }))

function sharded(): string {
  const folder = temporaryFolder()
  writeSharded(folder, SHARDS)
  return folder
}

describe('openCheckpoint() with backing', () => {
  test.runIf(HAS_ADDON).each(['file', 'sealed', 'heap', undefined] as const)(
    '%s gives the same tensors, also in a worker',
    async (backing) => {
      const folder = sharded()
      using checkpoint = await openCheckpoint(folder, backing && { backing })
      expect(checkpoint.backing).toBe(backing ?? 'file')
      for (const { name, bytes } of SHARDS.flat()) {
        expect(bytesOf(checkpoint.tensor(name).buffer)).toEqual(bytes)
      }
      expect(await adoptingWorker(checkpoint.share()).ask('digest')).toEqual(EXPECTED)
      expect(mappingsIn(folder)).toHaveLength(backing === 'heap' ? 0 : 2)
    },
  )

  test.each(['sealed', 'heap'] as const)('%s reports how far it is, up to the end', async (backing) => {
    const seen: Progress[] = []
    using checkpoint = await openCheckpoint(sharded(), {
      backing,
      onProgress: (progress) => seen.push(progress),
    })
    const { doneBytes, totalBytes } = seen.at(-1)!
    expect(doneBytes).toBe(totalBytes)
    expect(totalBytes).toBeGreaterThanOrEqual(checkpoint.byteLength)
    expect(seen.map((progress) => progress.doneBytes)).toEqual(
      seen.map((progress) => progress.doneBytes).sort((a, b) => a - b),
    )
  })

  test('heap reads neither through a mapping nor again: later changes of the file do not show', async () => {
    const folder = sharded()
    using checkpoint = await openCheckpoint(folder, { backing: 'heap' })
    writeFileSync(join(folder, 'model-00002-of-00002.safetensors'), '')
    expect(bytesOf(checkpoint.tensor('second').buffer)).toEqual(SHARDS[1]![0]!.bytes)
  })
})

describe('openCheckpoint() without the addon', () => {
  test('opens on the heap, shares with a worker, and warns once', async () => {
    const { value } = await runChild('open.mjs', [sharded()], { env: { ONECOPY_SKIP_NATIVE: '1' } })
    const { warnings, ...rest } = value as { warnings: { code: string; message: string }[] }
    const residentBytes = SHARDS.flat().reduce((sum, { bytes }) => sum + bytes.byteLength, 0)
    expect(rest).toEqual({ backing: 'heap', residentBytes, tensors: EXPECTED, inWorker: EXPECTED, mappings: 0 })
    expect(warnings.map(({ code }) => code)).toEqual(['ONECOPY_HEAP'])
    expect(warnings[0]!.message).toContain('ONECOPY_SKIP_NATIVE')
  })

  test('is not what happens here', async () => {
    const { value } = await runChild('open.mjs', [sharded()])
    expect(value).toMatchObject({ backing: 'file', tensors: EXPECTED, inWorker: EXPECTED, warnings: [] })
  })
})

const hasCompiler = spawnSync('cc', ['--version']).status === 0

describe.skipIf(!hasCompiler || addonFailure !== null)(
  'openCheckpoint() where the file system cannot map files',
  () => {
    /** What open.mjs says where no file below the folder can be mapped. */
    async function openBelow(folder: string, options: string) {
      const library = join(temporaryFolder(), 'no-mmap.so')
      const source = new URL('./children/no-mmap.c', import.meta.url).pathname
      const built = spawnSync('cc', ['-shared', '-fPIC', '-o', library, source, '-ldl'], { encoding: 'utf8' })
      expect(built.stderr).toBe('')
      const { value } = await runChild('open.mjs', [folder, options], {
        env: { LD_PRELOAD: library, NO_MMAP_IN: folder },
      })
      return value
    }

    test.each(['{}', '{"backing":"auto"}'])('copies the bytes with options %s, and says so once', async (options) => {
      const folder = sharded()
      const value = (await openBelow(folder, options)) as { warnings: { message: string }[] }
      expect(value).toMatchObject({ backing: 'sealed', tensors: EXPECTED, inWorker: EXPECTED })
      expect(value.warnings).toMatchObject([{ code: 'ONECOPY_NO_MMAP' }])
      expect(value.warnings[0]!.message).toMatch(
        /model-00001.* cannot map files: \d+ bytes .* are copied into sealed memory/,
      )
    })

    test('does what it is told, and names the backings that work where it is told to map', async () => {
      const folder = sharded()
      const { error } = (await openBelow(folder, '{"backing":"file"}')) as { error: { message: string } }
      expect(error).toMatchObject({ code: 'MAP_FAILED', path: join(folder, 'model-00001-of-00002.safetensors') })
      expect(error.message).toMatch(/its file system cannot map files .*'sealed' or 'heap'/)
      expect(await openBelow(folder, '{"backing":"heap"}')).toMatchObject({ backing: 'heap', warnings: [] })
    })
  },
)

test('openHeaders() tells what openCheckpoint() does, maps nothing and reads no tensor', async () => {
  const folder = sharded()
  using headers = await openHeaders(folder)
  expectNothingOpen(folder)
  using opened = await openCheckpoint(folder)
  expect(headers.fingerprint).toBe(opened.fingerprint)
  expect(headers.index).toEqual(opened.index)
  expect(headers.shards).toEqual(opened.shards)
  expect(await refusal(() => headers.tensor('first').data)).toMatchObject({ code: 'RANGE_OUT_OF_BOUNDS' })
})

test.runIf(HAS_ADDON)(
  'openCheckpoint() with more shards than this process may have files open names the limit and what it needs',
  async () => {
    const folder = temporaryFolder()
    writeSharded(
      folder,
      Array.from({ length: 90 }, (_, at) => [tensor(`t${at}`)]),
    )
    const prefix = ['sh', '-c', 'ulimit -n 80 && exec "$@"', 'sh']
    const { value } = await runChild('open.mjs', [folder], { prefix })
    const { error } = value as { error: { message: string } }
    expect(error).toMatchObject({ code: 'SHARD_UNREADABLE' })
    expect(error.message).toMatch(/EMFILE.*this process may have 80 files open at a time, and needs 90 .*ulimit -n/)
  },
)

describe('openCheckpoint() with residency', () => {
  test.runIf(HAS_ADDON).each(['populate', 'lock'] as const)(
    '%s resolves when everything is in RAM',
    async (residency) => {
      const seen: Progress[] = []
      const onProgress = (progress: Progress) => seen.push(progress)
      const folder = sharded()
      const lockedBefore = processMemory().lockedBytes
      using checkpoint = await openCheckpoint(folder, { residency, onProgress })
      const { byteLength, residentBytes } = checkpoint.residency()
      expect(residentBytes).toBe(byteLength)
      expect(seen.at(-1)).toEqual({ doneBytes: byteLength, totalBytes: byteLength })
      const locked = processMemory().lockedBytes - lockedBefore
      expect(locked > 0).toBe(residency === 'lock')
      checkpoint.close()
      expect(processMemory().lockedBytes).toBe(lockedBefore)
      expectNothingOpen(folder)
    },
  )
})

describe('openCheckpoint() with a signal', () => {
  const reason = new TypeError('enough')

  test('that was aborted before opens nothing', async () => {
    const folder = sharded()
    expect(await refusal(openCheckpoint(folder, { signal: AbortSignal.abort(reason) }))).toBe(reason)
    expectNothingOpen(folder)
  })

  test.each([{ backing: 'heap' }, { residency: 'populate' }, { residency: 'lock' }] as const)(
    'that is aborted on the way leaves nothing open: %j',
    async (options) => {
      const folder = sharded()
      const abort = new AbortController()
      const onProgress = (): void => abort.abort(reason)
      expect(await refusal(openCheckpoint(folder, { ...options, onProgress, signal: abort.signal }))).toBe(reason)
      expectNothingOpen(folder)
    },
  )

  test('that is aborted while headers are read leaves nothing open', async () => {
    const folder = sharded()
    const abort = new AbortController()
    const opening = openCheckpoint(folder, { signal: abort.signal })
    abort.abort(reason)
    expect(await refusal(opening)).toBe(reason)
    expectNothingOpen(folder)
  })
})

/** A signal that lets a test do something at the n-th time that it is looked at, which is a fixed place in the code. */
function signalThatActs(turn: number, act: () => void): AbortSignal {
  const { signal } = new AbortController()
  let looks = 0
  signal.throwIfAborted = () => {
    looks++
    if (looks === turn) act()
  }
  return signal
}

describe.runIf(HAS_ADDON)('a shard that changes between header and mapping', () => {
  test('by getting shorter is FILE_CHANGED', async () => {
    const folder = sharded()
    const paths = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'].map((x) => join(folder, x))
    const { size } = statSync(paths[1]!)
    const shards = await readHeaders(paths)
    truncateSync(paths[1]!, size - 1)
    const map = () => mapDescriptor(shards[1]!.descriptor!, paths[1]!, { expectedByteLength: shards[1]!.byteLength })
    const expected = { code: 'FILE_CHANGED', path: paths[1], actualBytes: size - 1, expectedBytes: size }
    expect(await refusal(map)).toMatchObject(expected)
    closeShards(shards)
    expectNothingOpen(folder)
  })

  // The signal is looked at when opening begins and when all headers were read.
  test.each([
    ['file', 'shorter', 'FILE_CHANGED'],
    ['heap', 'shorter', 'FILE_CHANGED'],
    ['file', 'overwritten', 'CHECKPOINT_CHANGED'],
    ['heap', 'overwritten', 'CHECKPOINT_CHANGED'],
    ['sealed', 'overwritten', 'CHECKPOINT_CHANGED'],
  ] as const)('is refused by openCheckpoint() on backing %s when it gets %s', async (backing, how, code) => {
    const folder = sharded()
    const path = join(folder, 'model-00001-of-00002.safetensors')
    const bytes = readFileSync(path)
    // Of another second than the change, for file systems that count in seconds.
    // Without a moment in which the file is empty: its header may be being read in another thread.
    const overwrite = (): void => writeFileSync(path, bytes, { flag: 'r+' })
    const act = (): void => (how === 'shorter' ? truncateSync(path, bytes.length - 1) : overwrite())
    const error = await refusal(openCheckpoint(folder, { backing, signal: signalThatActs(2, act) }))
    expect(error).toMatchObject({ code, path })
    expectNothingOpen(folder)
  })

  test('is refused on heap backing when it gets shorter while it is read', async () => {
    const folder = sharded()
    const path = join(folder, 'model-00002-of-00002.safetensors')
    const onProgress = (): void => truncateSync(path, 200)
    expect(await refusal(openCheckpoint(folder, { backing: 'heap', onProgress }))).toMatchObject({
      code: 'FILE_CHANGED',
      path,
    })
    expectNothingOpen(folder)
  })

  test('is CHECKPOINT_CHANGED when the index is replaced meanwhile', async () => {
    const folder = sharded()
    const index = join(folder, 'model.safetensors.index.json')
    const signal = signalThatActs(2, () => writeFileSync(index, `${readFileSync(index, 'utf8')} `))
    expect(await refusal(openCheckpoint(folder, { signal }))).toMatchObject({ code: 'CHECKPOINT_CHANGED', path: index })
    expectNothingOpen(folder)
  })
})

describe('openCheckpoint() again and again while another process', () => {
  const DOCUMENTED = /^(SOURCE|INDEX|SHARD|TENSOR|CHECKPOINT|SAFETENSORS)_|^FILE_(CHANGED|READ_FAILED|NOT_REGULAR)$/

  /** Three versions of one file, each filled with its own byte, and where the one stands that is opened. */
  function versions(): { folder: string; file: string } {
    const root = temporaryFolder()
    const folder = join(root, 'versions')
    mkdirSync(folder)
    for (const version of [1, 2, 3]) {
      const filled = Array.from({ length: 6 }, (_, at) => ({
        ...{ name: `layer.${at}`, dtype: 'U8' as const, shape: [8192 * version] },
        bytes: new Uint8Array(8192 * version).fill(version),
      }))
      write(folder, `${version}.safetensors`, fileOf(filled))
    }
    const file = write(root, 'model.safetensors', readFileSync(join(folder, '1.safetensors')))
    return { folder, file }
  }

  test.each([
    ['replaces and removes files', 'replace', { backing: 'file' }, 'read'],
    ['cuts files and writes them anew', 'truncate', { backing: 'heap' }, 'read'],
    // A mapped file that is cut kills whoever reads it, which no check can prevent: here it is only opened.
    ['cuts files and writes them anew', 'truncate', { backing: 'file' }, 'open'],
    ['cuts files and writes them anew', 'truncate', { backing: 'file', residency: 'populate' }, 'open'],
  ] as const)('%s (%s, %j, %s) gives one version or a documented error', async (_, way, options, task) => {
    const { folder, file } = versions()
    const reader = startChild('open-loop.mjs', [file, JSON.stringify(options), task])
    await reader.said('ready')
    const disturber = startChild('disturb.mjs', [folder, file, way])
    await disturber.said('ready')
    await reader.said('200 times')
    disturber.write('stop')
    expect(await disturber.ended).toMatchObject({ code: 0 })
    reader.write('stop')
    const { code, signal, output, errors } = await reader.ended
    expect({ code, signal, errors }).toEqual({ code: 0, signal: null, errors: '' })
    const summary = JSON.parse(output.trim().split('\n').at(-1)!)
    expect(summary).toMatchObject({ mixtures: [], strange: [] })
    const undocumented = Object.keys(summary.errors).filter((seen) => !DOCUMENTED.test(seen))
    expect(undocumented.filter((seen) => !('residency' in options && seen === 'RESIDENCY_FAILED'))).toEqual([])
    expect(summary.opened).toBeGreaterThanOrEqual(2)
  })
})
