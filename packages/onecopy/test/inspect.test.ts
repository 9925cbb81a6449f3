import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { serialize } from '@onecopy/safetensors'
import { describe, expect, test } from 'vitest'
import { onecopy, temporaryFolder } from './run-onecopy.ts'
import { saveTwoShards, writeNames } from './small-checkpoints.ts'

const REAL = fileURLToPath(new URL('../../../../shared/fixtures/real', import.meta.url))

describe('inspect', () => {
  test('shows summary, dtypes, shards, tensors and metadata of a sharded checkpoint', async () => {
    const folder = temporaryFolder()
    await saveTwoShards(folder)
    const { code, stdout, stderr } = await onecopy('inspect', folder)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout.split('\n')[0]).toBe(join(folder, 'model.safetensors.index.json'))
    expect(stdout).toMatch(/^shards +2, /m)
    expect(stdout).toMatch(/^tensors +2$/m)
    expect(stdout).toMatch(/^parameters +38$/m)
    expect(stdout).toMatch(/^weights +88 bytes$/m)
    expect(stdout).toMatch(/^BF16 +1 +32 +64 B$/m)
    expect(stdout).toMatch(/^F32 +1 +6 +24 B$/m)
    expect(stdout).toMatch(/^layers\.10\.weight +BF16 +\[8, 4\] +64 B +model-00001-of-00002\.safetensors$/m)
    expect(stdout).toContain('metadata of the index\nformat      pt\ntotal_size  88\n')
    expect(stdout).toContain('metadata of all 2 shards\nformat  pt\n')
  })

  test('counts the parameters of a quantised model by the config.json beside it, and says what is stored', async () => {
    const folder = temporaryFolder()
    const tensors = [
      { name: 'l.q.qweight', dtype: 'I32', shape: [16, 8], data: new Uint8Array(512) },
      { name: 'l.q.scales', dtype: 'F16', shape: [2, 8], data: new Uint8Array(32) },
    ] as const
    writeFileSync(join(folder, 'model.safetensors'), serialize(tensors))
    writeFileSync(join(folder, 'config.json'), '{"quantization_config":{"quant_method":"gptq","bits":4}}')
    const { stdout } = await onecopy('inspect', folder)
    expect(stdout).toMatch(/^parameters +1\.02 K \(1,024\), as the Hugging Face hub counts 144 elements$/m)
    const json = JSON.parse((await onecopy('inspect', folder, '--json')).stdout)
    expect(json).toMatchObject({ parameterCount: 1024, elementCount: 144 })
    writeFileSync(join(folder, 'config.json'), 'no JSON')
    expect((await onecopy('inspect', folder)).stdout).toMatch(/^parameters +144$/m)
  })

  test('leaves the shard of each tensor out where there is only one', async () => {
    const { stdout } = await onecopy('inspect', writeNames(temporaryFolder(), ['a']))
    expect(stdout).toMatch(/^tensor +dtype +shape +size$/m)
    expect(stdout).toMatch(/^a +U8 +\[1\] +1 B$/m)
  })

  test('aligns the columns of a table, numbers to the right', async () => {
    const folder = temporaryFolder()
    await saveTwoShards(folder)
    const { stdout } = await onecopy('inspect', folder)
    const lines = stdout.split('\n')
    const title = lines.findIndex((line) => line.startsWith('tensor '))
    const [head, first, second] = lines.slice(title, title + 3) as [string, string, string]
    expect(first.indexOf('BF16')).toBe(head.indexOf('dtype'))
    expect(second.indexOf('F32')).toBe(head.indexOf('dtype'))
    expect(first.indexOf('64 B') + 4).toBe(head.indexOf('size') + 4)
    expect(second.indexOf('24 B') + 4).toBe(head.indexOf('size') + 4)
  })

  test('--json gives everything with exact integers', async () => {
    const folder = temporaryFolder()
    await saveTwoShards(folder)
    const { stdout } = await onecopy('inspect', folder, '--json')
    const shown = JSON.parse(stdout)
    expect(shown).toMatchObject({
      tensorCount: 2,
      parameterCount: 38,
      byteLength: 88,
      dtypes: [
        { dtype: 'BF16', tensorCount: 1, parameterCount: 32, byteLength: 64 },
        { dtype: 'F32', tensorCount: 1, parameterCount: 6, byteLength: 24 },
      ],
      index: { totalSize: 88, metadata: { format: 'pt', total_size: 88 } },
      shards: [
        { name: 'model-00001-of-00002.safetensors', tensorCount: 1, metadata: { format: 'pt' } },
        { name: 'model-00002-of-00002.safetensors', tensorCount: 1, metadata: { format: 'pt' } },
      ],
      tensors: [
        { name: 'layers.10.weight', dtype: 'BF16', shape: [8, 4], parameterCount: 32, byteLength: 64 },
        { name: 'layers.2.bias', dtype: 'F32', shape: [6], parameterCount: 6, byteLength: 24 },
      ],
    })
    const [first] = shown.tensors
    expect(first.begin).toBe(shown.shards[0].dataOffset)
    expect(first.end - first.begin).toBe(64)
  })

  test.each([
    ['file', ['layers.10.weight', 'layers.2.bias']],
    ['size', ['layers.10.weight', 'layers.2.bias']],
    ['name', ['layers.2.bias', 'layers.10.weight']],
  ])('--sort %s orders the tensors, numbers in names as numbers', async (order, names) => {
    const folder = temporaryFolder()
    await saveTwoShards(folder)
    const { stdout } = await onecopy('inspect', folder, '--json', '--sort', order)
    expect(JSON.parse(stdout).tensors.map(({ name }: { name: string }) => name)).toEqual(names)
  })

  test('--tensors lists only those that match and says how many', async () => {
    const folder = temporaryFolder()
    await saveTwoShards(folder)
    const { stdout } = await onecopy('inspect', folder, '--tensors', '**.{weight,scale}')
    expect(stdout).toContain('1 of 2 tensors match "**.{weight,scale}": 64 B')
    expect(stdout).not.toContain('layers.2.bias')
  })

  test('--tensors speaks the language of policies, and says what matches nothing or is no glob', async () => {
    const folder = temporaryFolder()
    await saveTwoShards(folder)
    const none = await onecopy('inspect', folder, '--tensors', '*.weight')
    expect(none.stdout).toContain('0 of 2 tensors match "*.weight": a * stops at dots, and ** does not')
    const broken = await onecopy('inspect', folder, '--tensors', '{a')
    expect(broken.code).toBe(2)
    expect(broken.stderr).toContain('The glob "{a" has an opening brace without a closing one (GLOB_INVALID)')
  })

  test('hostile names and metadata do not reach the terminal raw, in text or JSON', async () => {
    const hostile = ['\u001b[2J\u001b]0;owned\u0007', 'a\u009b31m', 'rtl\u202e', 'two\nlines', '', '\u0000']
    const path = writeNames(temporaryFolder(), hostile, { 'k\u001b[1m': 'v\u009b\u0007' })
    const text = await onecopy('inspect', path)
    const json = await onecopy('inspect', path, '--json')
    for (const { code, stdout } of [text, json]) {
      expect(code).toBe(0)
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
      expect(stdout.replaceAll('\n', '')).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/)
    }
    expect(text.stdout).toContain('"\\u001b[2J\\u001b]0;owned\\u0007"')
    const names = JSON.parse(json.stdout).tensors.map(({ name }: { name: string }) => name)
    expect(new Set(names)).toEqual(new Set(hostile))
  })

  test('a name of 10,000 characters does not widen the rows of the others', async () => {
    const path = writeNames(temporaryFolder(), ['x'.repeat(10_000), 'short'])
    const { stdout } = await onecopy('inspect', path)
    const short = stdout.split('\n').find((line) => line.startsWith('short'))
    expect(short?.length).toBeLessThan(80)
  })

  test('names in wide characters keep the columns in line', async () => {
    const path = writeNames(temporaryFolder(), ['重み', 'abcd'])
    const { stdout } = await onecopy('inspect', path)
    expect(stdout).toMatch(/^重み {4}U8/m)
    expect(stdout).toMatch(/^abcd {4}U8/m)
  })

  test('a folder without a checkpoint is an error that says what was looked for', async () => {
    const { code, stderr } = await onecopy('inspect', temporaryFolder())
    expect(code).toBe(1)
    expect(stderr).toMatch(/^onecopy: Folder ".*" holds no checkpoint: .* \(SOURCE_NOT_FOUND\)\n$/)
  })

  test('a truncated shard is an error that names the file', async () => {
    const path = writeNames(temporaryFolder(), ['a', 'b', 'c'])
    truncateSync(path, readFileSync(path).byteLength - 1)
    const { code, stderr } = await onecopy('inspect', path)
    expect(code).toBe(1)
    expect(stderr).toContain(path)
    expect(stderr).toMatch(/\(SAFETENSORS_METADATA_INCOMPLETE_BUFFER\)\n$/)
  })

  test.skipIf(!existsSync(REAL))(
    '--json agrees with the Python reader on every real file (needs ../shared/fixtures/real)',
    async () => {
      const expected: Record<
        string,
        { tensors: Record<string, { dtype: string; shape: number[]; byteOffset: number }> }
      > = JSON.parse(readFileSync(join(REAL, 'expected.json'), 'utf8'))
      for (const [file, { tensors }] of Object.entries(expected)) {
        const { stdout, stderr } = await onecopy('inspect', join(REAL, file), '--json')
        expect(stderr).toBe('')
        const shown = new Map<string, unknown>(
          JSON.parse(stdout).tensors.map(
            ({ name, dtype, shape, begin }: (typeof tensors)[string] & { name: string; begin: number }) => [
              name,
              { dtype, shape, byteOffset: begin },
            ],
          ),
        )
        expect(shown.size).toBe(Object.keys(tensors).length)
        for (const [name, { dtype, shape, byteOffset }] of Object.entries(tensors)) {
          expect(shown.get(name)).toEqual({ dtype, shape, byteOffset })
        }
      }
    },
  )
})
