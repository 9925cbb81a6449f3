// @ts-check
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { BENCHMARKS } from '../catalogue.mjs'
import { writeReport } from '../report/write-report.mjs'
import { runBenchmark } from './benchmark.mjs'
import { writeResult } from './result.mjs'
import { BENCH_FOLDER, clean, Scratch } from './scratch.mjs'
import { formatResult } from './table.mjs'

const RESULTS = fileURLToPath(new URL('../results', import.meta.url))

/**
 * What `npm run bench` does.
 *
 * @param {readonly string[]} args
 * @returns {Promise<number>} the exit code: 1 when a benchmark failed, 2 for arguments that are none
 */
export async function bench(args) {
  /** @type {ReturnType<typeof readArguments>} */
  let options
  try {
    options = readArguments(args)
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}`)
    return 2
  }
  if (options.clean) {
    clean()
    console.log(`Removed ${BENCH_FOLDER}`)
    return 0
  }
  if (options.list) {
    for (const { name, claim } of BENCHMARKS) console.log(`${name}: ${claim}`)
    return 0
  }
  // A run of seconds keeps nothing, and so needs nothing that was kept.
  const tiny = options.size === 'tiny'
  const folder = tiny ? mkdtempSync(join(tmpdir(), 'onecopy-benchmarks-tiny-')) : BENCH_FOLDER
  let failures = 0
  for (const benchmark of options.benchmarks) {
    console.error(`${benchmark.name} …`)
    const scratch = new Scratch(folder)
    try {
      const result = await runBenchmark(benchmark, { ...options, scratch, log: (text) => console.error(`  ${text}`) })
      const path = writeResult(options.out, result)
      console.log(`${formatResult(result)}\n  → ${path}`)
    } catch (error) {
      failures += 1
      console.error(`Benchmark ${benchmark.name} failed:`, error)
    } finally {
      scratch.remove()
    }
  }
  if (tiny) clean(folder)
  if (options.out === RESULTS) console.log(`  → ${writeReport()}`)
  return failures > 0 ? 1 : 0
}

/** @param {readonly string[]} args */
function readArguments(args) {
  const { values } = parseArgs({
    args: [...args],
    options: {
      full: { type: 'boolean', default: false },
      tiny: { type: 'boolean', default: false },
      only: { type: 'string' },
      out: { type: 'string' },
      'no-install': { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      clean: { type: 'boolean', default: false },
    },
  })
  if (values.tiny && values.full) throw new Error('Found both --tiny and --full, only one of them can be')
  if (values.tiny && values.out === undefined) {
    throw new Error('--tiny figures prove only that the benchmarks run: say with --out where they go')
  }
  const names = values.only?.split(',')
  const benchmarks = BENCHMARKS.filter(({ name }) => names?.includes(name) ?? true)
  const unknown = names?.find((name) => !BENCHMARKS.some((benchmark) => benchmark.name === name))
  if (unknown !== undefined) {
    throw new Error(`There is no benchmark "${unknown}": ${BENCHMARKS.map(({ name }) => name).join(', ')}`)
  }
  return {
    size: /** @type {import('./result.mjs').Size} */ (values.tiny ? 'tiny' : values.full ? 'full' : 'short'),
    benchmarks,
    out: values.out ?? RESULTS,
    mayInstall: !(values['no-install'] || values.tiny),
    list: values.list,
    clean: values.clean,
  }
}
