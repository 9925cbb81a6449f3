// @ts-check
// npm run bench:report: docs/benchmarks.md and its charts, from benchmarks/results/.
import { setUpOrExplain } from '../scripts/setup.mjs'

// What is imported below needs the packages built.
if (await setUpOrExplain()) {
  const { writeReport } = await import('./report/write-report.mjs')
  console.log(`→ ${writeReport()}`)
} else {
  process.exitCode = 1
}
