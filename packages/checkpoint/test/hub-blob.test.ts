import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { hubBlobOf } from '../src/hub-blob.ts'
import { temporaryFolder, write } from './support.ts'

/** A file of a snapshot that is a link to a blob of that name. */
function linked(blob: string): string {
  const model = join(temporaryFolder(), 'models--org--name')
  const snapshot = join(model, 'snapshots', 'abc')
  for (const path of [snapshot, join(model, 'blobs')]) mkdirSync(path, { recursive: true })
  write(join(model, 'blobs'), blob, 'x')
  symlinkSync(`../../blobs/${blob}`, join(snapshot, 'file'))
  return join(snapshot, 'file')
}

test.each([
  ['sha256', 'ab'.repeat(32)],
  ['sha1', 'cd'.repeat(20)],
])('hubBlobOf() says by the length of its name that a blob is called by its %s', async (algorithm, digest) => {
  const command = 'hf download org/name --revision abc --force-download'
  expect(await hubBlobOf(linked(digest))).toEqual({ algorithm, digest, command })
})

test('hubBlobOf() is null for a blob of another name, and for a file elsewhere', async () => {
  expect(await hubBlobOf(linked('something'))).toBeNull()
  expect(await hubBlobOf(write(temporaryFolder(), 'ab'.repeat(32), 'x'))).toBeNull()
})
