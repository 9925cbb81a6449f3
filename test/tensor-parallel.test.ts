import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { SMALL, saveLlama } from './llama.ts'
import { temporaryFolder } from './support.ts'

const PROGRAM = fileURLToPath(new URL('../examples/tensor-parallel/main.mjs', import.meta.url))

function run(...args: string[]) {
  const folder = temporaryFolder() // for what it generates
  const ended = spawnSync(process.execPath, [PROGRAM, ...args], {
    encoding: 'utf8',
    env: { ...process.env, TMPDIR: folder },
    timeout: 100_000,
  })
  return { ...ended, left: readdirSync(folder) }
}

it('the example tensor-parallel computes on two workers what the whole model gives, and leaves nothing behind', () => {
  const { status, stdout, stderr, left } = run()
  expect({ status, stderr, left }).toEqual({ status: 0, stderr: '', left: [] })
  expect(stdout).toMatch(/^plan [0-9a-f]{16}: w0 and w1 on one host$/m)
  const [, together, inPlace, gathered] = /^together (\d+) bytes: (\d+) read in place, (\d+) gathered once$/m.exec(
    stdout,
  )!
  expect(Number(inPlace) + Number(gathered)).toBe(Number(together))
  expect(Number(gathered)).toBeGreaterThan(0)
  expect(stdout).toMatch(/^the sum of both equals the unsharded result \(largest difference \S+\)\n$/m)
})

it('the example tensor-parallel takes a checkpoint', async () => {
  const { status, stdout, stderr } = run(await saveLlama(temporaryFolder(), SMALL))
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  expect(stdout).toContain('the sum of both equals the unsharded result')
})
