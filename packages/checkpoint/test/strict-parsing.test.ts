import { linkSync, symlinkSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import type { Worker } from 'node:worker_threads'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openCheckpoint } from '../src/index.ts'
import { MAX_SHARDS } from '../src/strict-parser.ts'
import { agrees, INDEX, indexJson, inFolder, quickly } from './quick-and-strict.ts'
import {
  expectNothingOpen,
  fileOf,
  headerJson,
  type Refusal,
  rawFile,
  refusal,
  temporaryFolder,
  tensor,
  write,
} from './support.ts'

/** Spaces that make a text one that is not parsed on the calling thread. */
const LONG = ' '.repeat(200_000)

/** The threads that are started until the test ends. */
function startedThreads(): Worker[] {
  const started: Worker[] = []
  const listen = (thread: Worker): void => void started.push(thread)
  process.on('worker', listen)
  onTestFinished(() => void process.off('worker', listen))
  return started
}

const A = '"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}'
const DATA = new Uint8Array(2)

function fieldsOf(error: Refusal): unknown {
  return { text: error.message, ...error }
}

describe('StrictParsing parses in a thread of its own, with what comes out the same,', () => {
  test('a header that is long and unusual', async () => {
    const started = startedThreads()
    const folder = temporaryFolder()
    const path = write(folder, 'x', rawFile(`{"é":${A.slice(4)}${LONG},"__metadata__":{"k":"ü"}}`, DATA))
    using checkpoint = await openCheckpoint(path)
    expect(checkpoint.names).toEqual(['é'])
    expect(checkpoint.shards[0]!.metadata).toEqual(new Map([['k', 'ü']]))
    expect(started).toHaveLength(1)
    expect(await agrees([path])).toEqual({ quick: false, code: 'ok' })
    const short = write(folder, 'y', rawFile(`{"é":${A.slice(4)}}`, DATA))
    started.length = 0
    using other = await openCheckpoint(short)
    expect(other.names).toEqual(['é'])
    expect(started).toEqual([])
  })

  test('an index that is long and unusual', async () => {
    const started = startedThreads()
    const tensors = [[tensor('a'), tensor('é')], [tensor('b')]]
    const json = `${LONG}${indexJson([
      ['b', 'x1'],
      ['a', 'x0'],
      ['é', 'x0'],
    ])}`
    expect(await agrees(inFolder(tensors, json).source)).toEqual({ quick: false, code: 'ok' })
    expect(started).toHaveLength(1)
  })

  test.each<[what: string, json: string, code: string]>([
    ['syntax', '{"a"', 'SAFETENSORS_INVALID_HEADER_JSON'],
    ['a name twice', `{${A},"a":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}}`, 'SAFETENSORS_DUPLICATE_KEY'],
    [
      'an offset',
      `{${A.replace('[0,2]', '[18446744073709551614,18446744073709551615]')}}`,
      'SAFETENSORS_INVALID_OFFSET',
    ],
    ['a shape', `{${A.replace('[2]', '[18446744073709551615,2]')}}`, 'SAFETENSORS_VALIDATION_OVERFLOW'],
    ['the length of the data', '{}', 'SAFETENSORS_METADATA_INCOMPLETE_BUFFER'],
  ])('what is wrong with %s', async (_, json, code) => {
    const started = startedThreads()
    const folder = temporaryFolder()
    const path = join(folder, 'x')
    write(folder, 'x', rawFile(json, DATA))
    const here = await refusal(openCheckpoint(path))
    expect(started).toEqual([])
    write(folder, 'x', rawFile(json + LONG, DATA))
    const there = await refusal(openCheckpoint(path))
    expect(started).toHaveLength(1)
    expect(here).toMatchObject({ name: 'SafetensorsError', code, path })
    expect(there).toBeInstanceOf(here.constructor)
    // Where the text ends is all that may differ.
    if (!here.message.includes('found the end')) expect(fieldsOf(there)).toEqual(fieldsOf(here))
    expectNothingOpen(folder)
  })

  test('a disagreement of index and shards', async () => {
    const json = `${indexJson([
      ['b', 'x1'],
      ['a', 'x0'],
      ['é', 'x1'],
    ])}${LONG}`
    const { source, folder } = inFolder([[tensor('a'), tensor('é')], [tensor('b')]], json)
    const error = await refusal(openCheckpoint(String(source)))
    expect(error).toMatchObject({
      name: 'CheckpointError',
      code: 'TENSOR_IN_OTHER_SHARD',
      tensor: 'é',
      path: join(folder, 'x0'),
    })
  })
})

test('openCheckpoint() is aborted while a thread parses, and neither thread nor file stays', async () => {
  const started = startedThreads()
  const folder = temporaryFolder()
  const path = write(folder, 'x', rawFile(`{"é":${A.slice(4)}${LONG.repeat(50)}}`, DATA))
  const abort = new AbortController()
  const opening = openCheckpoint(path, { signal: abort.signal })
  const begun = new Promise<Worker>((resolve) => process.once('worker', resolve))
  const thread = await begun
  const ended = new Promise((resolve) => thread.once('exit', resolve))
  abort.abort(new TypeError('enough'))
  expect((await refusal(opening)).message).toBe('enough')
  await ended
  expect(started).toHaveLength(1)
  expectNothingOpen(folder)
})

test('openCheckpoint() says so when the thread ends that parses', async () => {
  const folder = temporaryFolder()
  const path = write(folder, 'x', rawFile(`{"é":${A.slice(4)}${LONG.repeat(50)}}`, DATA))
  process.once('worker', (thread: Worker) => void thread.terminate())
  const error = await refusal(openCheckpoint(path))
  expect(error).toMatchObject({ code: 'SHARD_UNREADABLE', path })
  expect(error.message).toMatch(/cannot be parsed in a thread: it ended early, with exit code \d/)
  expectNothingOpen(folder)
})

describe('openCheckpoint() refuses, before it reads so much,', () => {
  test.each([
    ['a hard link', linkSync],
    ['a symbolic link', symlinkSync],
  ])('two shards that are one file by %s: SHARD_TWICE', async (_, link) => {
    const folder = temporaryFolder()
    const first = write(folder, 'x0', fileOf([tensor('a')]))
    const second = join(folder, 'x1')
    link(first, second)
    const index = write(folder, INDEX, '{"weight_map":{"a":"x0","b":"x1"}}')
    for (const source of [[first, second], index]) {
      expect(await quickly(source)).toBeNull()
      const error = await refusal(openCheckpoint(source))
      expect(error).toMatchObject({ code: 'SHARD_TWICE', path: second, candidates: [first] })
      expect(error.message).toContain('one file')
    }
    expectNothingOpen(folder)
  })

  test('headers of more bytes than there may be together: CHECKPOINT_TOO_LARGE', async () => {
    const folder = temporaryFolder()
    const paths = [0, 1, 2].map((at) => {
      const path = write(folder, `x${at}`, rawFile(headerJson([]), new Uint8Array(), 90_000_000))
      truncateSync(path, 90_000_008)
      return path
    })
    const error = await refusal(openCheckpoint(paths))
    expect(error).toMatchObject({ name: 'CheckpointError', code: 'CHECKPOINT_TOO_LARGE' })
    expect(error.message).toContain('256000000')
    expectNothingOpen(folder)
  })

  test('more shards than there may be: CHECKPOINT_TOO_LARGE', async () => {
    const paths = Array.from({ length: MAX_SHARDS + 1 }, (_, at) => `/x${at}`)
    expect(await refusal(openCheckpoint(paths))).toMatchObject({ code: 'CHECKPOINT_TOO_LARGE' })
    const entries = paths.map((path, at) => [`t${at}`, path.slice(1)] as const)
    const index = write(temporaryFolder(), INDEX, indexJson(entries))
    expect(await refusal(openCheckpoint(index))).toMatchObject({ code: 'CHECKPOINT_TOO_LARGE', path: index })
  })
})
