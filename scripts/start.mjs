// @ts-check
import { join } from 'node:path'
import { runChild } from './run-child.mjs'
import { ROOT, setUpOrExplain } from './setup.mjs'

const { env } = process

if (await setUpOrExplain()) {
  const main = join(ROOT, 'packages', 'onecopy', 'dist', 'main.js')
  const { code, output } = await runChild(process.execPath, [main, 'demo', ...process.argv.slice(2)], {
    // npm moves to the repository's root; a relative checkpoint path belongs to where the user typed it.
    cwd: env['INIT_CWD'] ?? process.cwd(),
    output: 'inherit',
    stdin: 'inherit',
  })
  process.stderr.write(output)
  process.exitCode = code
} else {
  process.exitCode = 1
}
