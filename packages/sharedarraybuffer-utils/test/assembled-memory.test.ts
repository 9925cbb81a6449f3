import { randomBytes } from 'node:crypto'
import { fsyncSync, openSync, readdirSync, readSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { addon } from '../src/addon.ts'
import { type AssembledSource, assembleSealed } from '../src/assembled-memory.ts'
import { adoptDescriptor, closeDescriptors, openRegularFile } from '../src/descriptor.ts'
import { type FileMapping, mapDescriptor, mapFile, mappingCount } from '../src/mapping.ts'
import { evict, populate, residentBytes } from '../src/residency.ts'
import { isSealed, sealBytes } from '../src/sealed-memory.ts'
import { ask, describeWithAddon, failure, hasCommand, patternBytes, startThread, temporaryFolder } from './support.ts'

const MIB = 2 ** 20
const PAGE = 4096
const NOTHING = new Uint8Array()

type Run = readonly [from: number, to: number, length: number]

/** By reading: a buffer over the memory would hold it until a garbage collection. */
function bytesOf({ descriptor, byteLength }: FileMapping): Buffer {
  const bytes = Buffer.alloc(byteLength)
  for (let done = 0; done < byteLength; ) done += readSync(descriptor.number, bytes, done, byteLength - done, done)
  return bytes
}

function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length
}

describeWithAddon('assembleSealed()', () => {
  const folder = temporaryFolder()
  const byteLength = 20 * MIB + 77
  const path = join(folder, 'source')
  const otherPath = join(folder, 'other')
  const contents = new Map([
    [path, randomBytes(byteLength)],
    [otherPath, randomBytes(100_000)],
  ])
  for (const [file, bytes] of contents) writeFileSync(file, bytes)

  /** Files that are open for the time of a call, as sources. */
  async function withSources<T>(
    wanted: readonly (readonly [path: string, runs: readonly Run[]])[],
    use: (sources: AssembledSource[]) => Promise<T>,
  ): Promise<T> {
    const sources = wanted.map(([file, runs]) => ({
      descriptor: openRegularFile(file),
      path: file,
      byteLength: contents.get(file)?.byteLength ?? 0,
      dropBehind: true,
      runs: Float64Array.from(runs.flat()),
    }))
    try {
      return await use(sources)
    } finally {
      closeDescriptors(sources.map(({ descriptor }) => descriptor))
    }
  }

  /** What the memory must hold. */
  function oracle(size: number, head: Uint8Array, wanted: readonly (readonly [string, readonly Run[]])[]): Buffer {
    const memory = Buffer.alloc(size)
    memory.set(head)
    for (const [file, runs] of wanted) {
      for (const [from, to, length] of runs) memory.set(contents.get(file)!.subarray(from, from + length), to)
    }
    return memory
  }

  async function expectCopied(
    size: number,
    head: Uint8Array,
    wanted: readonly (readonly [string, readonly Run[]])[],
  ): Promise<void> {
    const before = [openDescriptors(), mappingCount()]
    const progress: number[] = []
    const onProgress = (doneBytes: number): unknown => progress.push(doneBytes)
    const mapping = await withSources(wanted, (sources) =>
      assembleSealed('an arena', size, head, sources, { onProgress }),
    )
    expect(mapping).toMatchObject({ backing: 'sealed', byteLength: size, path: 'an arena' })
    expect(isSealed(mapping.descriptor)).toBe(true)
    expect(bytesOf(mapping).equals(oracle(size, head, wanted))).toBe(true)
    const total = wanted.flatMap(([, runs]) => runs).reduce((sum, [, , length]) => sum + length, 0)
    expect(progress.at(-1) ?? 0).toBe(total)
    expect(progress).toEqual([...progress].sort((a, b) => a - b))
    mapping.close()
    expect([openDescriptors(), mappingCount() - before[1]!]).toEqual([before[0], 0])
  }

  test('gives what the runs name, whatever they are', async () => {
    // Lengths and gaps around those at which the copying does something else.
    const length = fc.oneof(
      fc.nat(40),
      fc.nat(3 * PAGE),
      fc.nat(3 * MIB),
      fc.constantFrom(0, MIB - 1, MIB, MIB + 1, 2 * MIB),
    )
    const gap = fc.oneof(fc.constantFrom(0, 1, PAGE - 1, PAGE, PAGE + 1), fc.nat(2 * PAGE), fc.nat(MIB))
    const steps = fc.array(fc.record({ length, gap, overlap: fc.boolean() }), { maxLength: 40 })
    const head = fc.uint8Array({ maxLength: 300 })
    await fc.assert(
      fc.asyncProperty(steps, steps, head, fc.infiniteStream(fc.nat()), async (first, second, start, order) => {
        const wanted = [path, otherPath, path].map((file, at): [string, [number, number, number][]] => {
          const size = contents.get(file)!.byteLength
          let from = 0
          let end = 0
          const runs: [number, number, number][] = []
          for (const step of at === 1 ? second : first) {
            // A run begins behind the one before it, or inside it.
            from = step.overlap ? from + Math.floor((end - from) / 3) : end + step.gap
            if (from > size) break
            const bytes = Math.min(step.length, size - from)
            end = Math.max(end, from + bytes)
            runs.push([from, 0, bytes])
          }
          return [file, runs]
        })
        // Places in the memory: all runs end to end, in any order.
        const all = wanted.flatMap(([, runs]) => runs)
        const keys = new Map(all.map((run) => [run, order.next().value]))
        let at = start.byteLength
        for (const run of all.toSorted((a, b) => keys.get(a)! - keys.get(b)!)) {
          run[1] = at
          at += run[2]
        }
        await expectCopied(at, start, wanted)
      }),
      { numRuns: 60 },
    )
  })

  test('copies runs longer than a job, tiny ones by the hundred thousand, and the same bytes to many places', async () => {
    await expectCopied(20 * MIB, NOTHING, [[path, [[5, 0, 20 * MIB]]]])
    const tiny = Array.from({ length: 200_000 }, (_, at): Run => [at * 100, (199_999 - at) * 3, 3])
    await expectCopied(600_000, NOTHING, [[path, tiny]])
    const same = Array.from({ length: 40 }, (_, at): Run => [7, at * MIB, MIB])
    await expectCopied(40 * MIB, NOTHING, [[path, same]])
  })

  test('reads a file that has two descriptors, many sources of one, and sealed memory', async () => {
    const sources = Array.from({ length: 300 }, (_, at) => [path, [[at * 10_000, at * 7, 7]]] as [string, Run[]])
    await expectCopied(2100, NOTHING, sources)
    using sealed = sealBytes(contents.get(otherPath)!, 'sealed source')
    const { descriptor } = sealed
    const source = { descriptor, path: sealed.path, byteLength: 100_000, dropBehind: false }
    using mapping = await assembleSealed('x', 10, NOTHING, [{ ...source, runs: Float64Array.of(99_990, 0, 10) }])
    expect(bytesOf(mapping).equals(contents.get(otherPath)!.subarray(99_990))).toBe(true)
  })

  test('of nothing is empty, and what no run fills is zeros without memory', async () => {
    await expectCopied(0, NOTHING, [])
    await expectCopied(5, Uint8Array.of(1, 2, 3), [[path, []]])
    await expectCopied(10 * MIB, Uint8Array.of(1), [[path, [[3, 9 * MIB, 5]]]])
  })

  test('asks for the sources as it goes, one after the other', async () => {
    let asked = 0
    const seen: number[] = []
    await withSources([[path, [[0, 0, 16 * MIB]]]], async ([source]) => {
      function* sources(): Generator<AssembledSource> {
        for (; asked < 12; asked++) yield source!
      }
      using mapping = await assembleSealed('x', 16 * MIB, NOTHING, sources(), { onProgress: () => seen.push(asked) })
      expect(mapping.byteLength).toBe(16 * MIB)
    })
    expect(seen).toHaveLength(12)
    expect(seen[0]).toBeLessThan(6)
  })

  test('refuses runs that are outside the file or the memory, or do not rise, before it copies them', async () => {
    const before = [openDescriptors(), mappingCount()]
    const attempt = (runs: readonly number[]): Promise<unknown> =>
      withSources([[path, []]], ([source]) =>
        assembleSealed('x', 1000, NOTHING, [{ ...source!, runs: Float64Array.from(runs) }]),
      )
    for (const run of [
      [byteLength - 5, 0, 6],
      [-1, 0, 5],
      [0.5, 0, 1],
      [0, 0, -1],
      [Number.NaN, 0, 1],
      [0, 0, Number.POSITIVE_INFINITY],
      [0, 995, 6],
      [0, -1, 1],
      [2 ** 60, 0, 1],
    ]) {
      await failure(() => attempt(run), 'RANGE_OUT_OF_BOUNDS')
    }
    await expect(attempt([0, 0])).rejects.toThrow(TypeError)
    await expect(attempt([100, 0, 5, 99, 5, 5])).rejects.toThrow(/must rise/)
    expect([openDescriptors(), mappingCount()]).toEqual(before)
  })

  test('refuses a file that was cut meanwhile', async () => {
    const cut = join(folder, 'cut')
    writeFileSync(cut, patternBytes(50_000))
    using descriptor = openRegularFile(cut)
    truncateSync(cut, 30_000)
    const before = [openDescriptors(), mappingCount()]
    const source = { descriptor, path: cut, byteLength: 50_000, dropBehind: true }
    const runs = Float64Array.of(0, 0, 10, 29_990, 10, 20)
    const error = await failure(() => assembleSealed('x', 100, NOTHING, [{ ...source, runs }]), 'FILE_CHANGED')
    expect(error).toMatchObject({ path: cut, actualBytes: 30_000, expectedBytes: 50_000 })
    expect([openDescriptors(), mappingCount()]).toEqual(before)
  })

  test('names file and system call when it cannot be read', async () => {
    const before = openDescriptors()
    const source = {
      descriptor: adoptDescriptor(openSync(folder, 'r')),
      path: folder,
      byteLength: 10,
      dropBehind: true,
    }
    const attempt = () => assembleSealed('x', 10, NOTHING, [{ ...source, runs: Float64Array.of(0, 0, 10) }])
    expect(await failure(attempt, 'SEAL_FAILED')).toMatchObject({ path: folder, syscall: 'pread', errnoName: 'EISDIR' })
    source.descriptor.close()
    expect(openDescriptors()).toBe(before)
  })

  test('what the sources throw comes back, and nothing stays behind', async () => {
    const before = [openDescriptors(), mappingCount()]
    await withSources([[path, [[0, 0, 16 * MIB]]]], async ([source]) => {
      function* sources(): Generator<AssembledSource> {
        yield source!
        throw new RangeError('mine')
      }
      await expect(assembleSealed('x', 16 * MIB, NOTHING, sources())).rejects.toThrow(new RangeError('mine'))
    })
    expect([openDescriptors(), mappingCount()]).toEqual(before)
  })

  test('stops with the reason of an aborted signal, before and on the way', async () => {
    const before = [openDescriptors(), mappingCount()]
    const reason = new RangeError('enough')
    const wanted = Array.from({ length: 10 }, () => [path, [[0, 0, 20 * MIB]]] as [string, Run[]])
    await withSources(wanted, async (sources) => {
      const early = { signal: AbortSignal.abort(reason) }
      await expect(assembleSealed('x', 20 * MIB, NOTHING, sources, early)).rejects.toBe(reason)
      const controller = new AbortController()
      const seen: number[] = []
      const onProgress = (doneBytes: number): void => {
        seen.push(doneBytes)
        controller.abort(reason)
      }
      const late = { signal: controller.signal, onProgress }
      await expect(assembleSealed('x', 20 * MIB, NOTHING, sources, late)).rejects.toBe(reason)
      expect(seen.length).toBeLessThanOrEqual(3)
    })
    expect([openDescriptors(), mappingCount()]).toEqual(before)
  })

  test('reads no page on which no run lies, and keeps none in RAM', async (context) => {
    const cold = join(folder, 'cold')
    writeFileSync(cold, patternBytes(16 * MIB))
    using descriptor = openRegularFile(cold)
    fsyncSync(descriptor.number)
    using mapping = mapDescriptor(descriptor, cold)
    for (let attempt = 0; residentBytes(mapping) !== 0 && attempt < 100; attempt++) evict(mapping)
    if (residentBytes(mapping) !== 0)
      return context.skip(`evict() left ${residentBytes(mapping)} bytes of ${cold} in RAM`)
    // Every other page, so that a run and the next are exactly a page apart.
    const runs = Float64Array.from(Array.from({ length: 2048 }, (_, at) => [at * 2 * PAGE, at * PAGE, PAGE]).flat())
    const source = { descriptor, path: cold, byteLength: 16 * MIB, runs }
    using kept = await assembleSealed('kept', 8 * MIB, NOTHING, [{ ...source, dropBehind: false }])
    expect(residentBytes(mapping)).toBe(8 * MIB)
    using dropped = await assembleSealed('dropped', 8 * MIB, NOTHING, [{ ...source, dropBehind: true }])
    expect(residentBytes(mapping)).toBe(0)
    expect(bytesOf(kept).equals(bytesOf(dropped))).toBe(true)
  })

  test('leaves pages in RAM that somebody has mapped', async (context) => {
    if (!addon?.memoryLimits().populateRead) return context.skip('this kernel has no MADV_POPULATE_READ')
    using mapping = mapFile(otherPath)
    await populate(mapping, undefined, { method: 'populate' })
    await expectCopied(100_000, NOTHING, [[otherPath, [[0, 0, 100_000]]]])
    expect(residentBytes(mapping)).toBe(100_000)
  })

  test('runs in a thread of its own', async () => {
    const worker = startThread(
      `const source = { descriptor: memory.openRegularFile(workerData), path: workerData, byteLength: 100_000, dropBehind: true }
       const runs = Float64Array.of(50, 1, 4)
       const mapping = await memory.assembleSealed('x', 6, Uint8Array.of(9), [{ ...source, runs }])
       parentPort.postMessage([...new Uint8Array(mapping.buffer(0, 6))])`,
      otherPath,
    )
    const bytes = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
    await worker.terminate()
    expect(bytes).toEqual([9, ...contents.get(otherPath)!.subarray(50, 54), 0])
  })

  test.skipIf(process.getuid?.() !== 0)('reads an open file that this user may not open again', () => {
    const script = `
      import { openSync, writeFileSync, chmodSync } from 'node:fs'
      writeFileSync(input, 'weights of somebody else')
      chmodSync(input, 0o600)
      const descriptor = memory.openRegularFile(input)
      process.setgid(65534); process.setuid(65534)
      let refused = null
      try { openSync('/proc/self/fd/' + descriptor.number) } catch ({ code }) { refused = code }
      const source = { descriptor, path: input, byteLength: 24, dropBehind: true, runs: Float64Array.of(11, 0, 13) }
      const mapping = await memory.assembleSealed('x', 13, new Uint8Array(), [source])
      answer([refused, Buffer.from(mapping.buffer(0, 13)).toString()])`
    expect(ask(script, { input: join(folder, 'private') })).toEqual(['EACCES', 'somebody else'])
  })

  test.skipIf(!hasCommand('prlimit', '--version'))('leaves nothing behind when there is no memory', () => {
    const script = `
      const ours = () => readdirSync('/proc/self/fd').map(linkOf).filter((link) => link.includes('memfd:onecopy')).length
      const source = { descriptor: memory.openRegularFile(input), path: input, byteLength: 100_000, dropBehind: true }
      const runs = Float64Array.of(0, 0, 5)
      try { await memory.assembleSealed('x', 2e6, new Uint8Array(), [{ ...source, runs }]) }
      catch ({ code, errnoName }) { answer([code, errnoName, ours()]) }`
    const found = ask(script, { input: otherPath, wrap: ['prlimit', '--fsize=1000000'] })
    expect(found).toEqual(['SEAL_FAILED', 'EFBIG', 0])
  })
})
