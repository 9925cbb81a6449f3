// @ts-check
// npm run bench [-- --full | --tiny] [--only open,attach] [--out folder] [--no-install] [--list] [--clean]
import { setUpOrExplain } from '../scripts/setup.mjs'

// What is imported below needs the packages built.
if (await setUpOrExplain()) {
  const { bench } = await import('./harness/command.mjs')
  process.exitCode = await bench(process.argv.slice(2))
} else {
  process.exitCode = 1
}
