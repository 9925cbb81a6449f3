import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { HAS_ADDON } from '../../../test/has-addon.ts'
import { until } from '../../../test/until.ts'
import { onecopy, startOnecopy, temporaryFolder } from './run-onecopy.ts'
import { saveTwoShards, writeNames } from './small-checkpoints.ts'

describe('demo', () => {
  test.runIf(HAS_ADDON).each(['file', 'sealed'])(
    'processes attach while the threads are alive and read the same, with %s backing',
    async (backing) => {
      const folder = temporaryFolder()
      const args = ['demo', '--size', '32MiB', '--threads', '2', '--processes', '2', '--backing', backing]
      const { code, stdout, stderr } = await startOnecopy(args, { TMPDIR: folder }).outcome
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      expect(stdout).toMatch(/^one checkpoint, 2 threads and 2 processes$/m)
      expect(stdout.split('\n').filter((line) => /^ +\d+ .*✓$/.test(line))).toHaveLength(4)
      expect(stdout).toMatch(/^process 2 \(\d+\) +[\d.]+ MiB +[\d.]+ MiB +[\d.]+ MiB$/m)
      expect(stdout).toMatch(/^all checksums agree +yes: \d+ tensors in 2 threads and 2 processes, /m)
      expect(stdout).toMatch(/^all products agree +yes: /m)
      expect(stdout).toMatch(/^Σ Pss ÷ checkpoint +[\d.]+: [\d.]+ MiB in all 3 processes/m)
      expect(readdirSync(folder)).toEqual([])
    },
  )

  test.runIf(HAS_ADDON)('--json has every process, and their sum is less than copies would take', async () => {
    const args = ['demo', '--size', '128MiB', '--threads', '1', '--processes', '2', '--json']
    const { code, stdout } = await onecopy(...args)
    expect(code).toBe(0)
    const result = JSON.parse(stdout)
    expect(result).toMatchObject({ allChecksumsAgree: true, allProductsAgree: true, withoutProcesses: null })
    expect(result.processes).toHaveLength(2)
    const memory = expect.objectContaining({ rssBytes: expect.any(Number), pssBytes: expect.any(Number) })
    for (const process of result.processes) {
      expect(process).toMatchObject({ right: true, memoryBefore: memory, memoryRead: memory })
      expect(process.readyMs).toBeGreaterThanOrEqual(process.attachMs)
      expect(process.memoryRead.anonymousBytes - process.memoryBefore.anonymousBytes).toBeLessThan(
        result.byteLength / 2,
      )
    }
    const { processCount, copyBytes, weightBytes } = result.together
    expect([processCount, copyBytes]).toEqual([3, 3 * result.byteLength])
    expect(weightBytes).toBeLessThan(2 * result.byteLength)
  })

  test('generates a checkpoint, reads it in every thread, finds the same everywhere, and removes it', async () => {
    const folder = temporaryFolder()
    const { code, stdout, stderr } = await startOnecopy(
      ['demo', '--size', '32MiB', '--threads', '3', '--processes', '0'],
      {
        TMPDIR: folder,
      },
    ).outcome
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/^checkpoint +generated in .*, in a temporary folder, now removed$/m)
    expect(stdout).toMatch(/^opened in +[\d.]+ m?s: /m)
    const rows = stdout.split('\n').filter((line) => /^ +\d+ .*✓$/.test(line))
    expect(rows).toHaveLength(3)
    expect(stdout).toMatch(/^all checksums agree +yes: \d+ tensors in 3 threads/m)
    expect(stdout).toMatch(/^all products agree +yes: /m)
    expect(stdout).toMatch(/^copies not made +2 × 32\.\d MiB: /m)
    expect(readdirSync(folder)).toEqual([])
  })

  test.runIf(HAS_ADDON)('--json: the process grows by less than a copy for each thread would take', async () => {
    const { code, stdout } = await onecopy('demo', '--size', '128MiB', '--threads', '4', '--processes', '0', '--json')
    expect(code).toBe(0)
    const result = JSON.parse(stdout)
    expect(result).toMatchObject({ allChecksumsAgree: true, allProductsAgree: true, differing: [] })
    expect(result.shardCount).toBeGreaterThanOrEqual(3)
    expect(result.threads.map(({ right }: { right: boolean }) => right)).toEqual([true, true, true, true])
    expect(new Set(result.threads.map(({ threadId }: { threadId: number }) => threadId)).size).toBe(4)
    const { weightBytes, copyBytes } = result.savings
    expect(copyBytes).toBe(4 * result.byteLength)
    expect(weightBytes).toBeLessThan(2 * result.byteLength)
    expect(result.memoryRead.rssBytes - result.memoryBefore.rssBytes).toBeLessThan(copyBytes)
  })

  test('--keep leaves a sharded checkpoint with an index behind, which a second demo reads', async () => {
    const folder = temporaryFolder()
    const first = await startOnecopy(['demo', '--size', '8MiB', '--threads', '1', '--processes', '0', '--keep'], {
      TMPDIR: folder,
    }).outcome
    expect(first.code).toBe(0)
    const kept = join(folder, readdirSync(folder)[0]!)
    expect(first.stdout).toContain(`kept: ${join(kept, 'model.safetensors.index.json')}`)
    expect(readdirSync(kept).filter((name) => name.endsWith('.safetensors')).length).toBeGreaterThanOrEqual(3)
    const second = await startOnecopy(['demo', kept, '--threads', '2', '--processes', '1'], { TMPDIR: folder }).outcome
    expect(second.code).toBe(0)
    expect(second.stdout).toContain(join(kept, 'model.safetensors.index.json'))
    expect(second.stdout).toMatch(/^all checksums agree +yes/m)
    expect(readdirSync(folder)).toHaveLength(1)
  })

  test('a generated checkpoint is the same each time', async () => {
    const indexes = await Promise.all(
      [1, 2].map(async () => {
        const folder = temporaryFolder()
        const args = ['demo', '--size', '8MiB', '--threads', '1', '--processes', '0', '--keep']
        await startOnecopy(args, { TMPDIR: folder }).outcome
        const kept = join(folder, readdirSync(folder)[0]!)
        const { stdout } = await onecopy('verify', kept, '--deep', '--json')
        rmSync(kept, { recursive: true })
        return JSON.parse(stdout).tensors as { name: string; sha256: string }[]
      }),
    )
    expect(indexes[0]).toEqual(indexes[1])
    const matrices = indexes[0]!.filter(({ name }) => !name.includes('norm'))
    expect(new Set(matrices.map(({ sha256 }) => sha256)).size).toBe(matrices.length)
  })

  test('on a given checkpoint it multiplies the largest matrix', async () => {
    const folder = temporaryFolder()
    await saveTwoShards(folder)
    const { code, stdout } = await onecopy('demo', folder, '--threads', '2', '--processes', '0')
    expect(code).toBe(0)
    expect(stdout).toMatch(/W = layers\.10\.weight, BF16 \[8, 4\]$/m)
    expect(stdout).toMatch(/^all checksums agree +yes: 2 tensors in 2 threads/m)
  })

  test('on a checkpoint without a matrix it says so and compares the checksums alone', async () => {
    const { code, stdout } = await onecopy(
      'demo',
      writeNames(temporaryFolder(), ['a', 'b']),
      '--threads',
      '2',
      '--processes',
      '1',
    )
    expect(code).toBe(0)
    expect(stdout).toContain('none: the checkpoint has no matrix of BF16, F16 or F32')
    expect(stdout).toMatch(/^all checksums agree +yes/m)
  })

  test('without memory mapping it says that the checkpoint was read into the process', async () => {
    const folder = temporaryFolder()
    await saveTwoShards(folder)
    const { code, stdout } = await startOnecopy(['demo', folder], { ONECOPY_SKIP_NATIVE: '1' }).outcome
    expect(code).toBe(0)
    expect(stdout).toContain('heap backing')
    expect(stdout).toMatch(/^processes +none: only mapped memory can be shared/m)
    expect(stdout).toMatch(/^all checksums agree +yes/m)
  })

  test('a size beyond the free disk is refused before anything is written', async () => {
    const folder = temporaryFolder()
    const { code, stderr } = await startOnecopy(['demo', '--size', '4000TiB'], { TMPDIR: folder }).outcome
    expect(code).toBe(1)
    expect(stderr).toMatch(/^onecopy: .* needs .* of disk, and ".*" has .* free; .*--size \(DEMO_DISK_FULL\)\n$/)
    expect(readdirSync(folder)).toEqual([])
  })

  test('a given path that does not exist is an error, exit code 1', async () => {
    const { code, stderr } = await onecopy('demo', '/no/such/path')
    expect(code).toBe(1)
    expect(stderr).toBe('onecopy: No checkpoint at "/no/such/path" (SOURCE_NOT_FOUND)\n')
  })

  test.each(['SIGINT', 'SIGTERM'] as const)(
    '%s while it generates removes the folder and ends the process',
    async (signal) => {
      const folder = temporaryFolder()
      const { child, outcome } = startOnecopy(['demo', '--size', '256MiB'], { TMPDIR: folder })
      await until(() => readdirSync(folder).some((name) => readdirSync(join(folder, name)).length > 0))
      child.kill(signal)
      expect(await outcome).toMatchObject({ code: null, signal })
      expect(readdirSync(folder)).toEqual([])
    },
  )

  test.runIf(HAS_ADDON)('SIGINT while the threads read removes the folder and ends the process', async () => {
    const folder = temporaryFolder()
    const { child, outcome } = startOnecopy(['demo', '--size', '256MiB', '--threads', '8'], { TMPDIR: folder })
    await until(() => mapsWeights(child.pid!))
    child.kill('SIGINT')
    expect(await outcome).toMatchObject({ code: null, signal: 'SIGINT' })
    expect(readdirSync(folder)).toEqual([])
  })

  test.runIf(HAS_ADDON).each(['SIGTERM', 'SIGKILL'] as const)(
    '%s leaves none of its processes behind',
    async (signal) => {
      const folder = temporaryFolder()
      const args = ['demo', '--size', '128MiB', '--threads', '1', '--processes', '2']
      const { child, outcome } = startOnecopy(args, { TMPDIR: folder })
      let readers: number[] = []
      await until(() => {
        readers = readersOf(child.pid!)
        return readers.length === 2
      })
      child.kill(signal)
      await outcome
      await until(() => readers.every((pid) => !commandLine(pid).includes('reader-process')))
      if (signal === 'SIGTERM') expect(readdirSync(folder)).toEqual([])
    },
  )

  test.runIf(HAS_ADDON)('a process that dies is an error that says so', async () => {
    const folder = temporaryFolder()
    const args = ['demo', '--size', '128MiB', '--threads', '1', '--processes', '2']
    const { child, outcome } = startOnecopy(args, { TMPDIR: folder })
    await until(() => readersOf(child.pid!).length > 0)
    process.kill(readersOf(child.pid!)[0]!, 'SIGKILL')
    const { code, stderr } = await outcome
    expect(code).toBe(1)
    expect(stderr).toBe('onecopy: A process of the demo failed: it ended with SIGKILL (DEMO_PROCESS_FAILED)\n')
    expect(readdirSync(folder)).toEqual([])
  })
})

/** Process ids of the demo's further processes that run now. */
function readersOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter(Boolean)
    .map(Number)
  return children.filter((child) => commandLine(child).includes('reader-process'))
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}

function mapsWeights(pid: number): boolean {
  const maps = `/proc/${pid}/maps`
  return existsSync(maps) && readFileSync(maps, 'utf8').includes('.safetensors')
}
