import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { saveCheckpoint } from '@onecopy/checkpoint'
import { describe, expect, test } from 'vitest'
import { HAS_ADDON } from '../../../test/has-addon.ts'
import { MAIN, onecopy, temporaryFolder } from './run-onecopy.ts'
import { editIndex, saveTwoShards, writeNames } from './small-checkpoints.ts'

const REAL = fileURLToPath(new URL('../../../../shared/fixtures/real', import.meta.url))
const FIRST = 'model-00001-of-00002.safetensors'
const SECOND = 'model-00002-of-00002.safetensors'

describe('verify', () => {
  test('passes a sound checkpoint: a mark for each check, exit code 0', async () => {
    const folder = temporaryFolder()
    await saveTwoShards(folder)
    const { code, stdout, stderr } = await onecopy('verify', folder)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    for (const check of ['files', 'headers', 'index', 'mapping'])
      expect(stdout).toMatch(new RegExp(`^✓ ${check} `, 'm'))
    expect(stdout).toMatch(/The checkpoint is sound\.\n$/)
  })

  test.runIf(HAS_ADDON)(
    'does not call a checkpoint unsound that it could not read for want of descriptors',
    async () => {
      const folder = temporaryFolder()
      const tensors = Array.from({ length: 90 }, (_, at) => ({
        ...{ name: `t${at}`, dtype: 'U8' as const, shape: [1] },
        data: new Uint8Array(1),
      }))
      await saveCheckpoint(folder, tensors, { maxShardBytes: 1 })
      const args = ['-c', 'ulimit -n 80 && exec "$@"', 'sh', process.execPath, MAIN, 'verify', folder]
      const { status, stdout } = spawnSync('sh', args, { encoding: 'utf8', timeout: 60_000 })
      expect(status).toBe(1)
      expect(stdout).toMatch(/this process may have 80 files open at a time, and needs 90 .*ulimit -n/)
      expect(stdout).toMatch(/This process could not check everything\.\n$/)
    },
  )

  test.each<[what: string, check: string, code: string, damage: (folder: string) => void]>([
    ['a missing shard', 'files', 'SHARD_NOT_FOUND', (folder) => rmSync(join(folder, SECOND))],
    ['a truncated shard', 'headers', 'SAFETENSORS_METADATA_INCOMPLETE_BUFFER', (folder) => cut(join(folder, FIRST), 1)],
    [
      'a shard cut inside its header',
      'headers',
      'SAFETENSORS_INVALID_HEADER_LENGTH',
      (folder) => cut(join(folder, FIRST), 100),
    ],
    [
      'an index that is not JSON',
      'files',
      'SAFETENSORS_INVALID_INDEX',
      (folder) => writeFileSync(join(folder, 'model.safetensors.index.json'), '{'),
    ],
    ['a tensor that the index leaves out', 'index', 'TENSOR_NOT_IN_INDEX', (folder) => addTensor(join(folder, SECOND))],
    [
      'a tensor that no shard holds',
      'index',
      'TENSOR_IN_NO_SHARD',
      (folder) =>
        editIndex(folder, (index) => {
          index.weight_map['tied'] = FIRST
        }),
    ],
  ])('%s fails the check "%s" with %s, exit code 1', async (_, check, code, damage) => {
    const folder = temporaryFolder()
    await saveTwoShards(folder)
    damage(folder)
    const text = await onecopy('verify', folder)
    expect(text.code).toBe(1)
    expect(text.stdout).toMatch(new RegExp(`^✗ ${check} .*\\(${code}\\)$`, 'm'))
    expect(text.stdout).toMatch(/The checkpoint is not sound\.\n$/)
    const json = await onecopy('verify', folder, '--json')
    expect(json.code).toBe(1)
    const result = JSON.parse(json.stdout)
    expect(result).toMatchObject({ ok: false, error: { code } })
    const failed = result.checks.findIndex(({ ok }: { ok: boolean }) => ok === false)
    expect(result.checks[failed].check).toBe(check)
    expect(result.checks.slice(failed + 1).every(({ ok }: { ok: boolean | null }) => ok === null)).toBe(true)
  })

  test('a path that does not exist is a failure, not a crash', async () => {
    const { code, stdout, stderr } = await onecopy('verify', '/no/such/path')
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' })
    expect(stdout).toContain('✗ files    No checkpoint at "/no/such/path" (SOURCE_NOT_FOUND)')
    expect(stdout).toMatch(/There is nothing to verify\.\n$/)
  })

  test('a total_size of the index that is wrong is noted, and no failure', async () => {
    const folder = temporaryFolder()
    await saveTwoShards(folder)
    editIndex(folder, (index) => {
      index.metadata['total_size'] = 1234
    })
    const { code, stdout } = await onecopy('verify', folder)
    expect(code).toBe(0)
    expect(stdout).toContain('· The index claims a total_size of 1,234 bytes; the tensors have 88')
  })

  test('what stands beside a checkpoint is noted, and no failure', async () => {
    const folder = temporaryFolder()
    await saveTwoShards(folder)
    const uuid = '01234567-89ab-cdef-0123-456789abcdef'
    const names = ['model-mtp-of-00002.safetensors', `${FIRST}.${uuid}.tmp`, `${SECOND}.incomplete`]
    for (const name of names) copyFileSync(join(folder, FIRST), join(folder, name))
    const { code, stdout } = await onecopy('verify', folder)
    expect(code).toBe(0)
    expect(stdout).toContain(`· 1 safetensors file beside those of the checkpoint, not looked at: "${names[0]}"`)
    expect(stdout).toContain(`· 1 file left by an interrupted save: "${names[1]}"`)
    expect(stdout).toContain(`· 1 file left by an interrupted download: "${names[2]}"`)
  })

  test('numbers that are missing are a failure: in an index and in a list; one shard alone is noted', async () => {
    const folder = temporaryFolder()
    await saveTwoShards(folder)
    const renamed = [FIRST, SECOND].map((name) => name.replace('of-00002', 'of-00004'))
    for (const [at, name] of [FIRST, SECOND].entries()) renameSync(join(folder, name), join(folder, renamed[at]!))
    const list = renamed.map((name) => join(folder, name))
    editIndex(folder, (index) => {
      for (const name of Object.keys(index.weight_map)) {
        index.weight_map[name] = index.weight_map[name]!.replace('of-00002', 'of-00004')
      }
    })
    for (const source of [[folder], list]) {
      const { code, stdout } = await onecopy('verify', ...source)
      expect(code).toBe(1)
      expect(stdout).toContain(
        '✗ index    By their names there are 4 shards of "model", and here are 2; missing: 3, 4 (SHARD_NOT_FOUND)',
      )
    }
    const alone = await onecopy('verify', list[0]!)
    expect(alone.code).toBe(0)
    expect(alone.stdout).toContain('· This is shard 1 of 4 alone; the others were not looked at')
  })

  test('numbers from zero are as good as numbers from one', async () => {
    const folder = temporaryFolder()
    await saveTwoShards(folder)
    const numbers: Readonly<Record<string, string>> = { [FIRST]: '00000', [SECOND]: '00001' }
    const renamed = (name: string): string => name.replace(/0000\d(?=-of)/, numbers[name]!)
    for (const name of [FIRST, SECOND]) renameSync(join(folder, name), join(folder, renamed(name)))
    editIndex(folder, (index) => {
      for (const [tensor, name] of Object.entries(index.weight_map)) index.weight_map[tensor] = renamed(name)
    })
    const { code, stdout } = await onecopy('verify', folder)
    expect(stdout).toContain('The checkpoint is sound.')
    expect(code).toBe(0)
  })

  test('a file that is another is said to be that, with what mends it', async () => {
    const folder = temporaryFolder()
    await saveTwoShards(folder)
    writeFileSync(
      join(folder, SECOND),
      `version https://git-lfs.github.com/spec/v1\noid sha256:${'a'.repeat(64)}\nsize 9\n`,
    )
    const { code, stdout } = await onecopy('verify', folder)
    expect(code).toBe(1)
    expect(stdout).toMatch(/^✗ headers .*a Git LFS pointer.* lfs pull \(SAFETENSORS_HEADER_TOO_LARGE\)$/m)
  })

  test.each([
    ['sha256', SECOND],
    ['sha1', FIRST],
    ['sha1', 'model.safetensors.index.json'],
  ] as const)(
    '--deep finds that a blob of the hub, called by its %s, is not what it was: %s',
    async (kind, damaged) => {
      const saved = temporaryFolder()
      await saveTwoShards(saved)
      const model = join(temporaryFolder(), 'models--org--name')
      const snapshot = join(model, 'snapshots', 'abc')
      for (const path of [snapshot, join(model, 'blobs')]) mkdirSync(path, { recursive: true })
      for (const name of readdirSync(saved)) {
        const bytes = readFileSync(join(saved, name))
        const git = kind === 'sha1' || name.endsWith('.json')
        const blob = git
          ? createHash('sha1').update(`blob ${bytes.byteLength}\0`).update(bytes).digest('hex')
          : createHash('sha256').update(bytes).digest('hex')
        writeFileSync(join(model, 'blobs', blob), bytes)
        symlinkSync(`../../blobs/${blob}`, join(snapshot, name))
      }
      const sound = await onecopy('verify', snapshot, '--deep')
      expect(sound.stdout).toContain('every file is what its name in the Hugging Face cache says')
      expect(sound.code).toBe(0)
      const path = join(snapshot, damaged)
      const bytes = readFileSync(path)
      // What no other check sees: another value of a tensor, and a tab for a space in JSON.
      if (damaged.endsWith('.json')) bytes[bytes.indexOf(' ')] = 0x09
      else bytes[bytes.byteLength - 1]! ^= 1
      writeFileSync(path, bytes)
      expect((await onecopy('verify', snapshot)).code).toBe(0)
      const { code, stdout } = await onecopy('verify', snapshot, '--deep')
      expect(code).toBe(1)
      expect(stdout).toContain(`✗ bytes    "${path}" has `)
      expect(stdout).toMatch(
        /fetch it again with: hf download org\/name --revision abc --force-download \(BLOB_DAMAGED\)$/m,
      )
    },
  )

  test('--deep --json gives the sha256 of each tensor', async () => {
    const folder = temporaryFolder()
    await saveTwoShards(folder)
    const { code, stdout } = await onecopy('verify', folder, '--deep', '--json')
    expect(code).toBe(0)
    const { tensors } = JSON.parse(stdout)
    const matrix = readFileSync(join(folder, FIRST)).subarray(-64)
    expect(tensors[0]).toEqual({
      name: 'layers.10.weight',
      byteLength: 64,
      sha256: createHash('sha256').update(matrix).digest('hex'),
    })
  })

  test('--deep prints hash and name of each tensor, hostile names escaped', async () => {
    const path = writeNames(temporaryFolder(), ['plain', 'esc\u001b[2J'])
    const { stdout } = await onecopy('verify', path, '--deep')
    const zero = createHash('sha256').update(new Uint8Array(1)).digest('hex')
    expect(stdout).toContain(`${zero}  plain\n`)
    expect(stdout).toContain(`${zero}  "esc\\u001b[2J"\n`)
  })

  test.skipIf(!existsSync(REAL))(
    '--deep finds in every real file what the Python reader found (needs ../shared/fixtures/real)',
    async () => {
      const expected: Record<string, { tensors: Record<string, { sha256: string }> }> = JSON.parse(
        readFileSync(join(REAL, 'expected.json'), 'utf8'),
      )
      for (const [file, { tensors }] of Object.entries(expected)) {
        const { code, stdout } = await onecopy('verify', join(REAL, file), '--deep', '--json')
        expect(code).toBe(0)
        const found = JSON.parse(stdout).tensors as { name: string; sha256: string }[]
        expect(Object.fromEntries(found.map(({ name, sha256 }) => [name, sha256]))).toEqual(
          Object.fromEntries(Object.entries(tensors).map(([name, { sha256 }]) => [name, sha256])),
        )
      }
    },
  )

  test.skipIf(!existsSync(REAL))(
    'misaligned tensors of a real file are noted (needs ../shared/fixtures/real)',
    async () => {
      const { code, stdout } = await onecopy('verify', join(REAL, 'misaligned', 'overall.safetensors'))
      expect(code).toBe(0)
      expect(stdout).toMatch(/^· \d+ tensors start at an address that is no multiple of the element size/m)
    },
  )
})

function cut(path: string, byteLength: number): void {
  truncateSync(path, readFileSync(path).byteLength - byteLength)
}

/** Writes the second shard anew, with a further tensor beside its own. */
function addTensor(path: string): void {
  const further = writeNames(temporaryFolder(), ['layers.2.bias', 'unexpected'])
  writeFileSync(path, readFileSync(further))
}
