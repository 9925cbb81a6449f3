import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, onTestFinished } from 'vitest'
import { saveModel, temporaryFolder } from './support.ts'

/** children/end-pool.mjs to its end; what goes wrong there is a crash of the process, or a process that stays. */
async function endPool(way: string): Promise<{ code: number | null; signal: string | null; output: string }> {
  const folder = await saveModel(join(temporaryFolder(), 'model'))
  const script = fileURLToPath(new URL('children/end-pool.mjs', import.meta.url))
  const child = spawn(process.execPath, [script, folder, way], { env: { ...process.env, NODE_OPTIONS: '' } })
  onTestFinished(() => void child.kill('SIGKILL'))
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  return new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal, output })))
}

describe('Generation', () => {
  it.each([
    'at once',
    'after a task',
    'in require() of ESM',
    'by swap() and close()',
    'in an endless import',
    'in an import that waits for ever',
    'by a signal, in an endless import',
  ])('threads end without a crash: %s', async (way) => {
    expect(await endPool(way)).toEqual({ code: 0, signal: null, output: 'ended\n' })
  })
})
