import { mkdirSync, rmSync, symlinkSync } from 'node:fs'
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

test('hubBlobOf() takes the name in the model, not that of the blob which several models share', async () => {
  const path = linked('name')
  const blobs = join(path, '../../../blobs')
  const shared = join(blobs, '../../blobs/12')
  mkdirSync(shared, { recursive: true })
  write(shared, '12'.repeat(32), 'x')
  symlinkSync(`../../blobs/12/${'12'.repeat(32)}`, join(blobs, 'ab'.repeat(32)))
  rmSync(path)
  symlinkSync(`../../blobs/${'ab'.repeat(32)}`, path)
  expect(await hubBlobOf(path)).toMatchObject({ algorithm: 'sha256', digest: 'ab'.repeat(32) })
  // The same through a link to the snapshot.
  const elsewhere = join(temporaryFolder(), 'model')
  symlinkSync(join(path, '..'), elsewhere)
  expect(await hubBlobOf(join(elsewhere, 'file'))).toMatchObject({ algorithm: 'sha256', digest: 'ab'.repeat(32) })
})

test('hubBlobOf() is null for a blob of another name, and for a file elsewhere', async () => {
  expect(await hubBlobOf(linked('something'))).toBeNull()
  expect(await hubBlobOf(write(temporaryFolder(), 'ab'.repeat(32), 'x'))).toBeNull()
})
