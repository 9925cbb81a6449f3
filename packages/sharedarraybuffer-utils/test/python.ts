import { strictEqual } from 'node:assert'
import { spawnSync } from 'node:child_process'

/** Whether `python3` is there and can import all of these modules. */
export function canImport(...modules: string[]): boolean {
  return spawnSync('python3', ['-c', `import ${modules.join(', ')}`], { stdio: 'ignore' }).status === 0
}

/** Runs a script that reads `input` from its standard input; returns what it writes to its standard output. */
export function runPython(script: string, args: readonly string[], input: Uint8Array): Buffer {
  const { status, stdout, stderr } = spawnSync('python3', ['-c', script, ...args], { input, maxBuffer: 2 ** 28 })
  strictEqual(status, 0, stderr.toString())
  return stdout
}
