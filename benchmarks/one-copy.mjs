// Records what `onecopy demo` measures, with the machine and the commit it was measured on: the figures of the README.
// node benchmarks/one-copy.mjs [demo options]
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'

const options = process.argv.slice(2)
const folder = new URL('./results/', import.meta.url)
const main = fileURLToPath(import.meta.resolve('onecopy').replace('index.js', 'main.js'))
/** @param {string} command @param {string[]} args */
const run = (command, ...args) =>
  execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })

// The label is a temporary folder's name.
const { label: _, ...result } = JSON.parse(run(process.execPath, main, 'demo', '--json', ...options))
const record = {
  benchmark: 'one-copy',
  command: ['onecopy', 'demo', '--json', ...options].join(' '),
  date: new Date().toISOString(),
  commit: run('git', 'rev-parse', 'HEAD').trim(),
  machine: {
    node: process.version,
    kernel: release(),
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
  },
  result,
}
mkdirSync(folder, { recursive: true })
writeFileSync(new URL('one-copy.json', folder), `${JSON.stringify(record, null, 2)}\n`)
console.log(`Σ Pss ÷ checkpoint: ${result.together?.factor?.toFixed(3) ?? 'not measured here'}`)
