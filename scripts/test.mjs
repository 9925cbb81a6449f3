// @ts-check
import { join } from 'node:path'
import { runChild } from './run-child.mjs'
import { formatCounts, runVitest } from './run-vitest.mjs'
import { ROOT, setUpOrExplain } from './setup.mjs'

// The JavaScript entries and not node_modules/.bin: those are shell scripts on one system and .cmd files on another.
const BIOME = join(ROOT, 'node_modules', '@biomejs', 'biome', 'bin', 'biome')
const TSC = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')

/** @type {readonly { name: string, args: readonly string[] }[]} */
const CHECKS = [
  { name: 'lint', args: [BIOME, 'lint', '--error-on-warnings', '.'] },
  { name: 'format', args: [BIOME, 'check', '--linter-enabled=false', '.'] },
  { name: 'types', args: [TSC, '-p', 'tsconfig.test.json'] },
  { name: 'layers', args: [join(ROOT, 'scripts', 'check-layers.mjs')] },
  { name: 'errors documentation', args: [join(ROOT, 'scripts', 'check-errors.mjs')] },
]

/** @param {string} name @param {boolean} ok @param {number} seconds */
function report(name, ok, seconds) {
  console.log(`${name}: ${ok ? 'ok' : 'failed'} (${seconds.toFixed(1)} s)`)
}

// Tests that try many inputs or many rounds try many more of them: minutes become an hour.
const LONG = '--long'
const args = process.argv.slice(2).filter((word) => word !== LONG)
const env = process.argv.includes(LONG) ? { ...process.env, ONECOPY_TEST_LONG: '1' } : process.env

const counts = { passed: 0, failed: 0, skipped: 0 }

if (await setUpOrExplain()) {
  for (const { name, args } of CHECKS) {
    const { code, output, seconds } = await runChild(process.execPath, args, { cwd: ROOT })
    if (code === 0) {
      counts.passed += 1
    } else {
      counts.failed += 1
      console.log(output.trimEnd())
    }
    report(name, code === 0, seconds)
  }
  const tests = await runVitest(args, { env, output: 'inherit' })
  counts.passed += tests.passed
  counts.failed += tests.failed
  counts.skipped += tests.skipped
  if (tests.output !== '') console.log(tests.output.trimEnd())
  report('vitest', tests.failed === 0, tests.seconds)
} else {
  counts.failed += 1
}

// Whoever reads the result reads this line: nothing may be printed after it.
console.log(formatCounts(counts))
process.exitCode = counts.failed > 0 ? 1 : 0
