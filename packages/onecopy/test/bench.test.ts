import { fork } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { totalmem } from 'node:os'
import { join } from 'node:path'
import { openCheckpoint, saveCheckpoint } from '@onecopy/checkpoint'
import { describe, expect, onTestFinished, test } from 'vitest'
import { HAS_ADDON } from '../../../test/has-addon.ts'
import { until } from '../../../test/until.ts'
import { assertWellFormed } from './html.ts'
import { onecopy, startOnecopy, temporaryFolder } from './run-onecopy.ts'
import { writeNames } from './small-checkpoints.ts'

const MIB = 2 ** 20

const WAYS = ['lazy', 'prefetch', 'populate', 'lock', 'sealed', 'readFile', 'read']

describe.runIf(HAS_ADDON)('bench', () => {
  test('--json and --html have all three groups, and nothing is left behind', async () => {
    const source = await saveShards(temporaryFolder())
    const temporary = temporaryFolder()
    const html = join(temporaryFolder(), 'report.html')
    const args = ['bench', source, '--trials', '1', '--readers', '2', '--json', '--html', html]
    const { code, stdout, stderr } = await startOnecopy(args, { TMPDIR: temporary }).outcome
    expect({ code, stderr: stderr.replace(/^(?:cold start|sharing): .*\n/gm, '') }).toEqual({ code: 0, stderr: '' })
    expect(readdirSync(temporary)).toEqual([])
    const result = JSON.parse(stdout)
    expect(result).toMatchObject({ byteLength: 32 * MIB, tensorCount: 4, shardCount: 2, limitBytes: null, trials: 1 })
    expect(result.environment).toMatchObject({
      node: process.version,
      cores: expect.any(Number),
      cpu: expect.any(String),
    })
    expect(result.environment.memoryBytes).toBe(totalmem())

    const { firstTensor, ways } = result.coldStart
    expect(firstTensor).toEqual({ name: 'a', byteLength: 8 * MIB })
    expect(ways.map(({ way }: { way: string }) => way)).toEqual(WAYS)
    for (const way of ways) {
      // Locking is for those who may.
      if (way.way === 'lock' && way.notMeasured !== null) continue
      expect(way).toMatchObject({ notMeasured: null, note: null })
      const { firstTensorMs, touchedMs, residentMs, stages } = way
      expect(touchedMs).toMatchObject({ unit: 'ms', spread: null, noisy: false, samples: [touchedMs.median] })
      expect(firstTensorMs.median).toBeLessThanOrEqual(touchedMs.median)
      expect(residentMs.median).toBeLessThanOrEqual(touchedMs.median)
      expect(way.residentBeforeBytes).toBeLessThanOrEqual(0.005 * result.byteLength)
      expect(way.residentAfterBytes).toBe(way.rival ? null : result.byteLength)
      expect(way.timesFaster > 0).toBe(true)
      const medians = Object.values(stages as Record<string, { median: number } | null>).map(
        (each) => each?.median ?? 0,
      )
      const sum = medians.reduce((total, each) => total + each)
      expect(sum).toBeCloseTo(touchedMs.median, 0)
    }
    expect(ways[0].stages.ioMs).toBeNull()
    expect(ways[2].stages.openMs).toBeNull()

    for (const row of [result.attach.thread, result.attach.process]) {
      expect(row.weightsMs.samples).toHaveLength(10)
      expect(row.bareMs.samples).toHaveLength(10)
      expect(row.weightsMs.p99).toBeGreaterThanOrEqual(row.weightsMs.median)
      expect(row.beyondMs.p50).toBeCloseTo(row.weightsMs.median - row.bareMs.median, 6)
    }

    const { rows } = result.sharing
    expect(rows).toHaveLength(8)
    for (const row of rows) {
      const { weights, readers, kind, processCount, pssBytes, idleBytes, weightBytes, factor } = row
      expect(row.notMeasured).toBeNull()
      const coordinator = kind === 'processes' && weights === 'shared' ? 1 : 0
      expect(processCount).toBe((kind === 'threads' ? 1 : readers) + coordinator)
      expect(pssBytes.median - idleBytes.median).toBeCloseTo(weightBytes.median, 0)
      // Node.js itself moves by some megabytes; copies cannot hide behind them.
      const copies = weights === 'shared' ? 1 : readers
      expect(factor).toBeGreaterThan(copies - 0.5)
      expect(factor).toBeLessThan(copies + 0.5)
    }

    const page = readFileSync(html, 'utf8')
    assertWellFormed(page)
    expect(page).not.toMatch(/http|<script|<link|<img|url\(|@import/i)
    expect(page).toContain('prefers-color-scheme: dark')
    for (const title of ['cold start', 'its stages', 'attach', 'sharing']) expect(page).toContain(`<h2>${title}</h2>`)
    expect(page.match(/class="chart"/g)).toHaveLength(3)
  })

  test('prints tables with units for people', async () => {
    const source = await saveShards(temporaryFolder())
    const { code, stdout } = await onecopy('bench', source, '--trials', '2', '--only', 'cold-start')
    expect(code).toBe(0)
    expect(stdout).toMatch(/^measured +32\.0 MiB in 4 tensors of 2 shards$/m)
    expect(stdout).toMatch(/^way +first tensor +all touched +all in RAM +readFile ÷ this$/m)
    expect(stdout).toMatch(/^lazy( +[\d.]+ m?s( ⚠ \d+ %)?){3} +[\d.]+ ×/m)
    expect(stdout).toMatch(/^lazy( +[\d.]+ m?s( ⚠ \d+ %)?){3} +in faults +[\d.]+ m?s/m)
    expect(stdout).not.toMatch(/^(?:attach|sharing)$/m)
  })

  test('--limit measures the first whole tensors that fit, also where one shard is only read in part', async () => {
    const source = await saveShards(temporaryFolder())
    const { code, stdout } = await onecopy(
      ...[
        'bench',
        source,
        '--limit',
        '25MiB',
        '--trials',
        '1',
        '--readers',
        '1',
        '--only',
        'cold-start,sharing',
        '--json',
      ],
    )
    expect(code).toBe(0)
    const result = JSON.parse(stdout)
    expect(result).toMatchObject({
      byteLength: 24 * MIB,
      tensorCount: 3,
      limitBytes: 25 * MIB,
      wholeByteLength: 32 * MIB,
    })
    expect(result.attach).toBeNull()
    for (const way of result.coldStart.ways) {
      if (way.way === 'readFile') {
        expect(way.notMeasured).toBe('readFile cannot read the part that --limit asks for')
        expect(way.touchedMs).toBeNull()
      } else if (!way.rival && way.notMeasured === null) expect(way.residentAfterBytes).toBe(24 * MIB)
    }
    expect(result.coldStart.ways.at(-1).touchedMs.median).toBeGreaterThan(0)
    for (const { factor } of result.sharing.rows) expect(factor).toBeLessThan(32 / 24 + 0.2)
  })

  test.runIf(existsSync('/dev/shm'))(
    'files that are in RAM by nature have no cold start, and the rows say so',
    async () => {
      const folder = mkdtempSync('/dev/shm/onecopy-test-')
      onTestFinished(() => rmSync(folder, { recursive: true }))
      const source = await saveShards(folder)
      const text = await onecopy('bench', source, '--trials', '1', '--only', 'cold-start')
      expect(text.code).toBe(0)
      for (const way of WAYS) {
        expect(text.stdout).toMatch(new RegExp(`^${way}[ –]+not measured here: its files lie on tmpfs`, 'm'))
      }
      const { stdout } = await onecopy('bench', source, '--trials', '1', '--only', 'cold-start', '--json')
      const { coldStart, environment } = JSON.parse(stdout)
      expect(environment.fileSystem).toBe('tmpfs')
      for (const way of coldStart.ways)
        expect(way).toMatchObject({ touchedMs: null, timesFaster: null, majorFaults: null })
    },
  )

  test('files that another process has mapped cannot be evicted, and the row names that process', async () => {
    const source = await saveShards(temporaryFolder())
    const path = join(temporaryFolder(), 'hold.mjs')
    writeFileSync(
      path,
      `import { openCheckpoint } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url))}
      globalThis.kept = await openCheckpoint(process.argv[2], { residency: 'populate' })
      process.on('disconnect', () => process.exit())
      process.send('held')`,
    )
    const holder = fork(path, [source])
    onTestFinished(() => void holder.kill('SIGKILL'))
    await new Promise((resolve) => holder.once('message', resolve))
    const { code, stdout } = await onecopy('bench', source, '--trials', '1', '--only', 'cold-start', '--json')
    expect(code).toBe(0)
    // What the kernel calls it: newer versions of Node name their main thread.
    const name = readFileSync(`/proc/${holder.pid}/comm`, 'utf8').trim()
    for (const { notMeasured } of JSON.parse(stdout).coldStart.ways) {
      expect(notMeasured).toBe(
        `32.0 MiB of 32.0 MiB cannot be evicted from the page cache: mapped by process ${holder.pid} (${name})`,
      )
    }
  })

  test('a checkpoint larger than the available memory gives its first tensor only', async () => {
    const path = join(temporaryFolder(), 'model.safetensors')
    writeSparse(path, totalmem() + 2 ** 30)
    const { code, stdout } = await onecopy(
      'bench',
      path,
      '--trials',
      '1',
      '--readers',
      '1',
      '--only',
      'cold-start,sharing',
      '--json',
    )
    expect(code).toBe(0)
    const { coldStart, sharing } = JSON.parse(stdout)
    const tooLarge = expect.stringMatching(/it takes .* and .* of memory are available; --limit benches a part$/)
    for (const way of coldStart.ways) {
      expect(way).toMatchObject(
        way.way === 'lazy' || way.way === 'prefetch'
          ? { notMeasured: null, note: tooLarge, firstTensorMs: { unit: 'ms' }, touchedMs: null, residentMs: null }
          : { notMeasured: tooLarge, firstTensorMs: null },
      )
    }
    for (const row of sharing.rows) expect(row).toMatchObject({ notMeasured: tooLarge, pssBytes: null })
  })

  test('names that would steer a terminal or a page are written out in both', async () => {
    const folder = join(temporaryFolder(), '<script>alert("1")</script>&\u001b[31m\u202e')
    mkdirSync(folder, { recursive: true })
    const name = '</td><script>\u001b]0;x\u0007\u202e'
    await saveCheckpoint(folder, [{ name, dtype: 'U8', shape: [4096], data: new Uint8Array(4096) }])
    const html = join(temporaryFolder(), 'report.html')
    const args = ['bench', folder, '--trials', '1', '--only', 'cold-start', '--html', html]
    const { code, stdout } = await onecopy(...args)
    expect(code).toBe(0)
    const page = readFileSync(html, 'utf8')
    assertWellFormed(page)
    expect(page).toContain('&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;\\u001b[31m\\u202e')
    for (const text of [page, stdout]) expect(text).not.toMatch(/[^\P{Cc}\n]|\u202e/u)
    expect(page).not.toContain('<script')
  })

  test.each([
    [['--trials', '0'], 'from 1 to 1000'],
    [['--readers', 'many'], 'from 1 to 256'],
    [['--only', 'cold-start,warm'], 'some of cold-start, attach, sharing'],
    [['--limit', 'half'], 'a size such as'],
  ])('%j is refused, exit code 2', async (args, message) => {
    const { code, stdout, stderr } = await onecopy('bench', 'anything', ...args)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain(message)
  })

  test('a limit below the first tensor, a checkpoint without bytes, a missing one and a report that cannot be written are errors', async () => {
    const source = await saveShards(temporaryFolder())
    const empty = temporaryFolder()
    await saveCheckpoint(empty, [{ name: 'nothing', dtype: 'U8', shape: [0], data: new Uint8Array(0) }])
    const outcomes = [
      [
        ['bench', source, '--limit', '1MiB'],
        /^onecopy: --limit is 1\.00 MiB, .* 8\.00 MiB; .*\(BENCH_LIMIT_TOO_SMALL\)\n$/,
      ],
      [['bench', empty], /\(BENCH_NO_BYTES\)\n$/],
      [['bench', '/no/such/path'], /\(SOURCE_NOT_FOUND\)\n$/],
      [['bench', source, '--html', '/no/such/folder/report.html'], /ENOENT.* \(BENCH_REPORT_UNWRITABLE\)\n$/],
      [['bench', source, '--html', source], /EISDIR.* \(BENCH_REPORT_UNWRITABLE\)\n$/],
    ] as const
    for (const [args, message] of outcomes) {
      const { code, stdout, stderr } = await onecopy(...args)
      expect({ code, stdout, stderr }).toEqual({ code: 1, stdout: '', stderr: expect.stringMatching(message) })
    }
    const html = join(temporaryFolder(), 'report.html')
    await onecopy('bench', empty, '--html', html)
    expect(existsSync(html)).toBe(false)
  })

  test('without memory mapping there is nothing to measure, and the error says what is missing', async () => {
    const path = writeNames(temporaryFolder(), ['a'])
    const { code, stderr } = await startOnecopy(['bench', path], { ONECOPY_SKIP_NATIVE: '1' }).outcome
    expect(code).toBe(1)
    expect(stderr).toMatch(/\(ADDON_UNAVAILABLE\)\n$/)
  })

  test.each(['SIGINT', 'SIGKILL'] as const)('%s leaves none of its processes behind', async (signal) => {
    const source = await saveShards(temporaryFolder())
    const temporary = temporaryFolder()
    const args = ['bench', source, '--only', 'sharing', '--readers', '4']
    const { child, outcome } = startOnecopy(args, { TMPDIR: temporary })
    let started: number[] = []
    await until(() => {
      started = programsOf(child.pid!)
      return started.length >= 2
    })
    child.kill(signal)
    expect(await outcome).toMatchObject({ code: null, signal })
    await until(() => started.every((pid) => !commandLine(pid).includes('/bench/')))
    if (signal === 'SIGINT') expect(readdirSync(temporary)).toEqual([])
  })

  test('a measuring process that is killed is an error that says so', async () => {
    const source = await saveShards(temporaryFolder())
    const temporary = temporaryFolder()
    const { child, outcome } = startOnecopy(['bench', source, '--only', 'sharing'], { TMPDIR: temporary })
    let readers: number[] = []
    await until(() => {
      readers = programsOf(child.pid!).filter((pid) => commandLine(pid).includes('reader-process'))
      return readers.length > 0
    })
    process.kill(readers[0]!, 'SIGKILL')
    const { code, stderr } = await outcome
    expect(code).toBe(1)
    expect(stderr).toContain('A process of the bench failed: it ended with SIGKILL (BENCH_PROCESS_FAILED)\n')
    expect(readdirSync(temporary)).toEqual([])
  })
})

/** Two shards of two tensors of 8 MiB each, on the disk. */
async function saveShards(folder: string): Promise<string> {
  const tensors = ['a', 'b', 'c', 'd'].map((name, at) => {
    const data = new Uint8Array(8 * MIB).fill(at + 1)
    return { name, dtype: 'F32', shape: [2048, 1024], data } as const
  })
  await saveCheckpoint(folder, tensors, { maxShardBytes: 16 * MIB })
  using checkpoint = await openCheckpoint(folder)
  expect(checkpoint.shards).toHaveLength(2)
  return folder
}

function writeSparse(path: string, byteLength: number): void {
  const tensors = {
    first: { dtype: 'U8', shape: [4096], data_offsets: [0, 4096] },
    rest: { dtype: 'U8', shape: [byteLength], data_offsets: [4096, 4096 + byteLength] },
  }
  const header = Buffer.from(JSON.stringify(tensors))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  writeFileSync(path, Buffer.concat([length, header]))
  truncateSync(path, 8 + header.length + 4096 + byteLength)
}

/** Process ids of the measuring programs that run now. */
function programsOf(pid: number): number[] {
  const path = `/proc/${pid}/task/${pid}/children`
  const children = existsSync(path) ? readFileSync(path, 'utf8').trim().split(' ').filter(Boolean).map(Number) : []
  return children.filter((child) => commandLine(child).includes('/bench/'))
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}
