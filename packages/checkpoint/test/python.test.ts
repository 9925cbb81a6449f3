import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DTYPE_NAMES } from '@onecopy/safetensors'
import { describe, expect, test } from 'vitest'
import { openCheckpoint, saveCheckpoint } from '../src/index.ts'
import { bytesOf, sha256, temporaryFolder, tensor } from './support.ts'

/** Whether Python can import them; the tests below are skipped, and shown as skipped, where it cannot. */
function canImport(...modules: readonly string[]): boolean {
  return spawnSync('python3', ['-c', `import ${modules.join(', ')}`], { stdio: 'ignore' }).status === 0
}

function python(script: string, ...args: readonly string[]): unknown {
  const { status, stdout, stderr } = spawnSync('python3', ['-c', script, ...args], { maxBuffer: 2 ** 26 })
  expect(status, stderr?.toString()).toBe(0)
  return JSON.parse(stdout.toString())
}

const HAVE = canImport('safetensors', 'numpy')

const READ = `
import hashlib, json, os, sys
from safetensors import deserialize, safe_open
result = []
for name in sorted(os.listdir(sys.argv[1])):
    if not name.endswith('.safetensors'): continue
    path = os.path.join(sys.argv[1], name)
    with open(path, 'rb') as file: tensors = deserialize(file.read())
    with safe_open(path, 'numpy') as file: metadata = file.metadata()
    result.append({'file': name, 'metadata': metadata, 'tensors': sorted(
        [n, t['dtype'], list(t['shape']), hashlib.sha256(bytes(t['data'])).hexdigest()] for n, t in tensors)})
print(json.dumps(result))
`

const WRITE = `
import hashlib, json, os, sys
import numpy as np
from safetensors.numpy import save_file
random = np.random.default_rng(1)
tensors = {'scalar': np.array(1.5, dtype=np.float64), 'empty': np.zeros((3, 0, 2), dtype=np.int64),
           'gr\\u00f6\\u00dfe \\U0001f600': np.arange(6, dtype=np.uint8).reshape(2, 3), '__proto__': np.ones(3, dtype=bool)}
for dtype in ['float64', 'float32', 'float16', 'int64', 'int32', 'int16', 'int8', 'uint64', 'uint32', 'uint16', 'uint8']:
    tensors[dtype] = (random.random((4, 5)) * 100).astype(dtype)
halves = list(tensors)
names = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
parts = [halves[:6], halves[6:]]
for file, part in zip(names, parts):
    save_file({n: tensors[n] for n in part}, os.path.join(sys.argv[1], file), metadata={'format': 'np', '\\u00fc': '"'})
index = {'metadata': {'total_size': sum(t.nbytes for t in tensors.values())},
         'weight_map': {n: file for file, part in zip(names, parts) for n in part}}
with open(os.path.join(sys.argv[1], 'model.safetensors.index.json'), 'w') as file:
    json.dump(index, file, indent=2, sort_keys=True)
print(json.dumps({n: [list(t.shape), hashlib.sha256(t.tobytes()).hexdigest()] for n, t in tensors.items()}))
`

describe('Python safetensors', () => {
  test.skipIf(!HAVE).each([
    ['one file', undefined],
    ['shards', 60],
  ])('reads what saveCheckpoint() wrote as %s', async (_, maxShardBytes) => {
    const folder = temporaryFolder()
    const names = ['', '__proto__', 'größe \u{1f600}', 'a\0b', 'x'.repeat(10_000), '"\\\n']
    const tensors = [
      ...DTYPE_NAMES.map((dtype) => tensor(dtype, dtype, [2, 4])),
      ...names.map((name) => tensor(name, 'U8', [5])),
      tensor('scalar', 'F32', []),
      tensor('empty', 'I16', [0, 3]),
    ]
    const metadata = { format: 'pt', ü: '"\\', '': '' }
    const options = { metadata, ...(maxShardBytes && { maxShardBytes }) }
    await saveCheckpoint(
      folder,
      tensors.map(({ bytes, ...spec }) => ({ ...spec, data: bytes })),
      options,
    )
    const files = python(READ, folder) as { metadata: object; tensors: [string, string, number[], string][] }[]
    expect(files.length > 1).toBe(maxShardBytes !== undefined)
    for (const file of files) expect(file.metadata).toEqual(metadata)
    const byName = new Map(files.flatMap((file) => file.tensors.map((entry) => [entry[0], entry])))
    expect(byName.size).toBe(tensors.length)
    for (const { name, dtype, shape, bytes } of tensors) {
      expect(byName.get(name)).toEqual([name, dtype, shape, sha256(bytes)])
    }
  })

  test.skipIf(!HAVE)('writes what openCheckpoint() reads', async () => {
    const folder = join(temporaryFolder(), 'model')
    mkdirSync(folder)
    const written = python(WRITE, folder) as Record<string, [number[], string]>
    for (const backing of ['file', 'sealed', 'heap'] as const) {
      using checkpoint = await openCheckpoint(folder, { backing })
      expect([...checkpoint.names].sort()).toEqual(Object.keys(written).sort())
      for (const [name, [shape, sha]] of Object.entries(written)) {
        const view = checkpoint.tensor(name)
        expect(view.shape).toEqual(shape)
        expect(sha256(bytesOf(view.buffer))).toBe(sha)
      }
      expect(checkpoint.tensor('scalar').data[0]).toBe(1.5)
      expect(checkpoint.tensor('__proto__').dtype).toBe('BOOL')
      for (const { metadata } of checkpoint.shards) expect([...metadata!]).toEqual(expect.arrayContaining([['ü', '"']]))
    }
  })
})
