import { spawnSync } from 'node:child_process'

/** Why the tests against the reference implementation do not run; null where they can. */
export const pythonMissing: string | null = findPython()

function findPython(): string | null {
  const probe = spawnSync('python3', ['-c', 'import safetensors, numpy'], { encoding: 'utf8' })
  if (probe.error !== undefined) return `python3 does not run: ${probe.error.message}`
  if (probe.status === 0) return null
  return 'python3 cannot import safetensors and numpy: python3 -m pip install safetensors numpy'
}

/** Runs a Python script with `input` as JSON on its standard input; it answers with JSON on its standard output. */
export function runPython<T>(script: string, input: unknown): T {
  const { status, stdout, stderr, error } = spawnSync('python3', ['-c', script], {
    input: JSON.stringify(input),
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  })
  if (error !== undefined || status !== 0) throw new TypeError(`python3 failed: ${error?.message ?? stderr}`)
  return JSON.parse(stdout) as T
}
