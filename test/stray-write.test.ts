import { join } from 'node:path'
import { saveCheckpoint } from 'onecopy'
import { describe, expect, it } from 'vitest'
import { HAS_ADDON } from './has-addon.ts'
import { runProgram, temporaryFolder } from './support.ts'

describe.skipIf(!HAS_ADDON)('a write to a tensor view', () => {
  it.each(['main', 'pool'])('in a %s thread ends the process with one line that says what to do', async (thread) => {
    const folder = temporaryFolder()
    const data = new Float32Array(5)
    await saveCheckpoint(folder, [
      { name: 'layer.bias', dtype: 'F32', shape: [5], data },
      { name: 'layer.weight', dtype: 'F32', shape: [5], data },
    ])
    const { stdout, stderr, signal } = runProgram('stray-write.mjs', folder, thread)
    expect(signal).toBe('SIGSEGV')
    expect(stdout).toBe('')
    const path = join(folder, 'model.safetensors')
    expect(stderr).toMatch(
      new RegExp(
        `^onecopy: a write to read-only weights: file "${path}", byte \\d+, tensor "layer\\.weight" \\(its byte 8\\)\\. Tensor views are read-only .* view\\.data\\.slice\\(\\)\\n$`,
      ),
    )
  })
})
