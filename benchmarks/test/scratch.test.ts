import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { Scratch } from '../harness/scratch.mjs'

/** Above every process id that Linux gives. */
const NO_PID = 2 ** 22 + 1

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'onecopy-test-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

it('Scratch removes what its run made, and what killed runs left, but not what is kept or belongs to a living run', async () => {
  const folder = temporaryFolder()
  mkdirSync(join(folder, `run-${NO_PID}-abc`))
  const living = new Scratch(folder)
  const scratch = new Scratch(folder)
  const kept = await scratch.cached('kept', () => {})
  const made = await scratch.made('made', () => {})
  expect(existsSync(join(folder, `run-${NO_PID}-abc`))).toBe(false)
  scratch.remove()
  expect([kept, made, living.temporary].map(existsSync)).toEqual([true, false, true])
  living.remove()
})

it('Scratch never finds what was made half', async () => {
  const scratch = new Scratch(temporaryFolder())
  onTestFinished(() => scratch.remove())
  const fail = () => Promise.reject(new Error('disk full'))
  await expect(scratch.cached('half', fail)).rejects.toThrow('disk full')
  let made = 0
  await scratch.cached('half', () => void made++)
  await scratch.cached('half', () => void made++)
  expect(made).toBe(1)
})
