import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import * as room from '../src/index.ts'
import { fileOf, temporaryFolder, tensor, write } from './support.ts'

const { Checkpoint, openCheckpoint, openHeaders, saveCheckpoint, saveRemains, TensorView } = room

/** A call with something that cannot be, whatever the types say. */
// biome-ignore lint/suspicious/noExplicitAny: wrong calls are what this is about
type Wrong = any

let folder: string
let file: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'onecopy-wrong-calls-'))
  file = write(folder, 'model.safetensors', fileOf([tensor('a', 'F32', [4, 4])]))
  return () => rmSync(folder, { recursive: true })
})

const open = (options: Wrong) => openCheckpoint(file, options)
const save = (tensors: Wrong, options?: Wrong) => saveCheckpoint(temporaryFolder(), tensors, options)
const A = { name: 'a', dtype: 'F32', shape: [2], data: new Float32Array(2) }

/** Something done with an open checkpoint. */
async function opened(call: (checkpoint: Wrong) => unknown): Promise<unknown> {
  using checkpoint = await openCheckpoint(file)
  return await call(checkpoint)
}
const viewed = (call: (view: Wrong) => unknown) => opened((checkpoint) => call(checkpoint.tensor('a')))

type Calls = readonly (readonly [call: () => unknown, text: RegExp])[]

const FUNCTIONS: Readonly<Record<string, Calls>> = {
  openCheckpoint: [
    [() => openCheckpoint(undefined as Wrong), /The source of openCheckpoint\(\) is undefined; it must be a path/],
    [() => openCheckpoint([file, 5] as Wrong), /The source of openCheckpoint\(\) is a list of 2/],
    [() => openCheckpoint({ path: file } as Wrong), /The source of openCheckpoint\(\) is an object/],
    [() => open(5), /The options of openCheckpoint\(\) is 5/],
    [() => open(null), /The options of openCheckpoint\(\) is null/],
    [() => open({ bakcing: 'heap' }), /openCheckpoint\(\) has no option "bakcing"; its options are backing, residency/],
    [() => open({ backing: 'mmap' }), /The option backing .* is "mmap"; it must be one of auto, file, sealed, heap/],
    [() => open({ backing: true }), /The option backing .* is true/],
    [() => open({ residency: 'foo' }), /The option residency .* is "foo"; it must be one of lazy, populate, lock/],
    [() => open({ prefer: 'both' }), /The option prefer .* is "both"/],
    [() => open({ variant: 16 }), /The option variant .* is 16; it must be a text/],
    [() => open({ signal: 'now' }), /The option signal .* is "now"; it must be an AbortSignal/],
    [() => open({ onProgress: {} }), /The option onProgress .* is an object; it must be a function/],
    [() => open({ selection: ['a'] }), /A selection must be an object/],
    [
      () => open({ selection: { tensors: [{ name: 'a', range: [[0, 1]] }] } }),
      /The selected tensor "a" has a member "range"/,
    ],
  ],
  saveCheckpoint: [
    [() => saveCheckpoint(undefined as Wrong, []), /The directory of saveCheckpoint\(\) is undefined/],
    [() => saveCheckpoint('', []), /The directory of saveCheckpoint\(\) is ""/],
    [() => save(undefined), /What saveCheckpoint\(\) is to write is undefined; it must be a list of tensors, or a Map/],
    [() => save('a'), /What saveCheckpoint\(\) is to write is "a"/],
    [() => save(new Float32Array(2)), /What saveCheckpoint\(\) is to write is an object of class "Float32Array"/],
    [() => save(new Map([['a', new Float32Array(2)]])), /Tensor "a" is an object of class "Float32Array"; it must be/],
    [() => save({ a: 5 }), /Tensor "a" is 5/],
    [() => save(new Map([[5, A]])), /The name of a tensor is 5/],
    [() => save(['a']), /Entry 0 of the tensors is "a"/],
    [() => save([{ ...A, name: undefined }]), /The name of entry 0 of the tensors is undefined/],
    [() => save([{ ...A, dtype: 'float32' }]), /The dtype of tensor "a" is "float32"; it must be a dtype, such as F32/],
    [() => save([{ ...A, shape: 2 }]), /The shape of tensor "a" is 2/],
    [() => save([{ ...A, shape: [-2] }]), /Dimension 0 is -2/],
    [() => save([{ ...A, data: [1, 2] }]), /The data of tensor "a" is a list of 2; it must be a typed array/],
    [() => save([{ ...A, data: () => 'x' }]), /The data of tensor "a" is "x"/],
    [
      () => save([{ ...A, dtype: 'BF16' }]),
      /The data of tensor "a" is a Float32Array; for BF16 it must be a Uint16Array/,
    ],
    [() => save([{ ...A, shape: [3] }]), /"a" has 8 bytes of data; its dtype and shape, F32 \[3\], need 12/],
    [() => save([A], { maxShardBytes: -1 }), /The option maxShardBytes .* is -1; it must be a number of bytes above 0/],
    [() => save([A], { maxShardBytes: '5GB' }), /The option maxShardBytes .* is "5GB"/],
    [
      () => save([A], { metadata: { step: 5 } }),
      /The option metadata of saveCheckpoint\(\) under "step" is 5; it must be a text/,
    ],
    [() => save([A], { metadata: 'pt' }), /The option metadata of saveCheckpoint\(\) is "pt"/],
    [() => save([A], { stem: '' }), /The option stem .* is ""/],
    [() => save([A], { stem: '../x' }), /Shard name "..\/x.safetensors" has a path separator/],
    [() => save([A], { variant: 16 }), /The option variant .* is 16/],
    [() => save([A], { signal: {} }), /The option signal .* is an object/],
    [() => save([A], { maxShardSize: 5 }), /saveCheckpoint\(\) has no option "maxShardSize"/],
  ],
  openHeaders: [
    [() => openHeaders(5 as Wrong), /The source of openHeaders\(\) is 5/],
    [() => openHeaders(file, { backing: 'file' } as Wrong), /openHeaders\(\) has no option "backing"/],
  ],
  saveRemains: [[() => saveRemains(undefined as Wrong), /The folder of saveRemains\(\) is undefined/]],
}

const METHODS: Readonly<Record<string, Calls>> = {
  adopt: [
    [() => Checkpoint.adopt(undefined as Wrong), /What Checkpoint.adopt\(\) takes over is undefined/],
    [
      () => opened((own) => Checkpoint.adopt(own)),
      /What Checkpoint.adopt\(\) takes over is an object of class "Checkpoint"/,
    ],
  ],
  has: [
    [() => opened((own) => own.has()), /The name of a tensor is undefined; it must be a tensor's name/],
    [() => opened((own) => own.has(['a'])), /The name of a tensor is a list of 1/],
  ],
  tensor: [
    [() => opened((own) => own.tensor(5)), /The name of a tensor is 5/],
    [() => opened((own) => own.tensor('b')), /has no tensor "b"/],
  ],
  locate: [[() => opened((own) => own.locate({})), /The name of a tensor is an object/]],
  prefetch: [
    [
      () => opened((own) => own.prefetch({ tensorz: [] })),
      /prefetch\(\) has no option "tensorz"; its options are tensors/,
    ],
    [() => opened((own) => own.prefetch({ tensors: 'a' })), /The option tensors of prefetch\(\) is "a"/],
    [() => opened((own) => own.prefetch({ tensors: [5] })), /The name of a tensor is 5/],
    [() => opened((own) => own.prefetch({ maxGapBytes: -1 })), /The option maxGapBytes of prefetch\(\) is -1/],
    [() => opened((own) => own.prefetch(['a'])), /The options of prefetch\(\) is a list of 1/],
  ],
  lock: [[() => opened((own) => own.lock({ onprogress() {} })), /lock\(\) has no option "onprogress"/]],
  select: [
    [() => opened((own) => own.select()), /A selection must be an object/],
    [() => opened((own) => own.select({ tensors: ['a'] })), /Every selected tensor must be an object with a name/],
    [() => opened((own) => own.select({ tensors: [] }, { timeout: 5 })), /select\(\) has no option "timeout"/],
  ],
  selectAll: [
    [
      () => opened((own) => own.selectAll({ tensors: [] })),
      /What selectAll\(\) selects is an object; it must be a list/,
    ],
    [() => opened((own) => own.selectAll([], { signal: 1 })), /The option signal of selectAll\(\) is 1/],
  ],
  followLatest: [
    [() => opened((own) => own.followLatest({ wait: 5 })), /followLatest\(\) has no option "wait"/],
    [() => opened((own) => own.followLatest({ timeoutMs: 0 })), /The option timeoutMs of followLatest\(\) is 0/],
  ],
  slice: [
    [() => viewed((view) => view.slice([3])), /The range of dimension 0 is a list of 1; it must be a number, null/],
    [() => viewed((view) => view.slice([0, 2, 1, 99])), /The range of dimension 0 is a list of 4/],
    [() => viewed((view) => view.slice('0:2')), /The range of dimension 0 is "0:2"/],
    [() => viewed((view) => view.slice([0, 5])), /stop 5 in dimension 0/],
  ],
  toFloat32: [
    [
      () => viewed((view) => view.toFloat32([])),
      /The array given to toFloat32\(\) is an empty list; it must be a Float32Array/,
    ],
    [() => viewed((view) => view.toFloat32(new Float64Array(16))), /is an object of class "Float64Array"/],
    [() => viewed((view) => view.toFloat32(new Float32Array(15))), /has 16 elements; the array given has room for 15/],
  ],
}

/** Between rooms of the house, without arguments, or those of EventEmitter. */
const INNER = ['adoptArenas', 'adoptMappings', 'close', 'constructor', 'descriptors', 'evict', 'holdArenas']
INNER.push('computeFingerprint', 'residency', 'selectWith', 'share', 'tensors')

describe.each(Object.entries({ ...FUNCTIONS, ...METHODS }))('%s()', (_, calls) => {
  test.each(calls.map(([call, text]) => [text.source, call, text] as const))('refuses: %s', async (_, call, text) => {
    const thrown = await (async () => call())().then(
      () => undefined,
      (error) => error,
    )
    expect(thrown).toBeInstanceOf(Error)
    expect(thrown.message).toMatch(text)
    // What no type can rule out, such as a name that there is not, has a code.
    expect(thrown.code !== undefined || /^(?:Type|Range)Error$/.test(thrown.name)).toBe(true)
  })
})

test('every function and method of the room is here, or one for others of the house', () => {
  const classes: Wrong[] = [Checkpoint, TensorView]
  const methods = classes.flatMap((of) => {
    const own = Object.entries(Object.getOwnPropertyDescriptors(of.prototype))
    const statics = Object.entries(Object.getOwnPropertyDescriptors(of))
    return [...own, ...statics].flatMap(([name, { value }]) => (typeof value === 'function' ? [name] : []))
  })
  const expected = [...Object.keys(METHODS), ...INNER]
  expect([...new Set(methods)].filter((name) => !expected.includes(name))).toEqual([])
  expect(expected.filter((name) => !methods.includes(name))).toEqual([])
  const functions = Object.entries(room).flatMap(([name, value]) => {
    return typeof value === 'function' && !/^class /.test(String(value)) ? [name] : []
  })
  const ofTheHouse = [
    'checkArgument',
    'checkOptions',
    'hubBlobOf',
    'missingNumbers',
    'numberedShard',
    'quoteName',
    'shardCountOf',
  ]
  expect(functions.sort()).toEqual([...Object.keys(FUNCTIONS), ...ofTheHouse].sort())
})

test('saveCheckpoint() takes a Map and an object by name, empty ones too, and views under other names', async () => {
  const target = temporaryFolder()
  const { name: _, ...spec } = A as Wrong
  using source = await openCheckpoint(file)
  for (const tensors of [
    new Map<string, Wrong>([
      ['x', spec],
      ['y', source.tensor('a')],
    ]),
    { x: spec, y: source.tensor('a') },
  ]) {
    await saveCheckpoint(target, tensors)
    using saved = await openCheckpoint(target)
    expect([...saved.names].sort()).toEqual(['x', 'y'])
    expect(saved.tensor('y').toFloat32()).toEqual(source.tensor('a').toFloat32())
  }
  for (const nothing of [new Map(), {}, [], new Set<never>()]) {
    await saveCheckpoint(target, nothing)
    using saved = await openCheckpoint(target)
    expect(saved.tensorCount).toBe(0)
  }
})

test('saveCheckpoint() takes the array that shows a dtype, bytes, a Buffer and a DataView', async () => {
  const data = [
    new Uint16Array([1, 2]),
    new Uint8Array([1, 0, 2, 0]),
    Buffer.from([1, 0, 2, 0]),
    new DataView(new Uint16Array([1, 2]).buffer),
  ]
  const target = temporaryFolder()
  await saveCheckpoint(
    target,
    data.map((each, at) => ({ name: `t${at}`, dtype: 'BF16' as const, shape: [2], data: each })),
  )
  using saved = await openCheckpoint(target)
  for (const view of saved.tensors()) expect(view.data).toEqual(new Uint16Array([1, 2]))
})
