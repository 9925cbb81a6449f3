import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { mapFile } from '../src/mapping.ts'
import { mappingMemory, processMemory } from '../src/process-memory.ts'
import { ask, BUILT_LIBRARY, describeWithAddon, failure, temporaryFolder, writePattern } from './support.ts'

const MIB = 2 ** 20
const FIELDS = ['anonymousBytes', 'lockedBytes', 'privateBytes', 'pssBytes', 'rssBytes', 'sharedBytes']
const NOTHING = Object.fromEntries(FIELDS.map((field) => [field, 0]))

describe.skipIf(process.platform !== 'linux')('process memory', () => {
  test('processMemory() of this process adds up', () => {
    const own = processMemory()
    expect(Object.keys(own).sort()).toEqual(FIELDS)
    expect(own.rssBytes).toBeGreaterThan(10 * MIB)
    expect(own.pssBytes).toBeLessThanOrEqual(own.rssBytes)
    expect(own.sharedBytes + own.privateBytes).toBe(own.rssBytes)
    expect(own.anonymousBytes).toBeLessThanOrEqual(own.rssBytes)
    const byNumber = processMemory(process.pid)
    expect(Math.abs(byNumber.rssBytes - own.rssBytes)).toBeLessThan(50 * MIB)
  })

  test('processMemory() says PROCESS_MEMORY_UNREADABLE for what is no process', async () => {
    for (const pid of [0, -1, Number.NaN, 1.5, 2 ** 31 - 1]) {
      const error = await failure(() => processMemory(pid), 'PROCESS_MEMORY_UNREADABLE')
      expect(error.path).toBe(`/proc/${pid}/smaps_rollup`)
      expect(error.message).toContain(`/proc/${pid}/smaps_rollup`)
    }
  })

  describeWithAddon('of mappings', () => {
    const folder = temporaryFolder()
    const byteLength = 64 * MIB
    const path = join(folder, 'weights')
    writeFileSync(path, Buffer.alloc(byteLength, 1))
    const TOUCH = `
      const touch = (buffer) => {
        const view = new Uint8Array(buffer)
        let sum = 0
        for (let at = 0; at < view.length; at += 4096) sum += view[at]
        return sum
      }
      const about = (bytes, wanted) => Math.abs(bytes - wanted) < 2 * 2 ** 20 ? 'as wanted' : bytes
      const size = 64 * 2 ** 20
    `

    test('a mapping that was touched raises the resident memory by its size, once for all threads', () => {
      const script = `${TOUCH}
        const mapping = memory.mapFile(input.path)
        const buffer = mapping.buffer(0, size)
        const before = memory.processMemory()
        const untouched = memory.mappingMemory(mapping).rssBytes
        touch(buffer)
        const touched = memory.mappingMemory(mapping)
        const after = memory.processMemory()
        const worker = new Worker(\`
          const { workerData, parentPort } = require('node:worker_threads'); ${TOUCH}
          parentPort.postMessage(touch(workerData))\`, { eval: true, workerData: buffer })
        const sum = await message(worker)
        const withThread = memory.mappingMemory(mapping)
        answer([untouched, touched.rssBytes, touched.pssBytes, touched.privateBytes, touched.anonymousBytes, sum,
          withThread.rssBytes, after.rssBytes - before.rssBytes >= size, after.rssBytes - before.rssBytes < size + 16 * 2 ** 20])`
      const expected = [0, byteLength, byteLength, byteLength, 0, byteLength / 4096, byteLength, true, true]
      expect(ask(script, { input: { path } })).toEqual(expected)
    })

    test('two processes that touched one file have half of its Pss each, until one has ended', () => {
      const script = `${TOUCH}
        import { spawn } from 'node:child_process'
        import { once } from 'node:events'
        const mapping = memory.mapFile(input.path)
        const buffer = mapping.buffer(0, size)
        touch(buffer)
        const other = spawn(process.execPath, ['--input-type=module', '-e', \`${TOUCH}
          const memory = await import(${JSON.stringify(BUILT_LIBRARY)})
          globalThis.kept = memory.mapFile(process.argv[1]).buffer(0, size) // a collected buffer would be unmapped
          touch(kept)
          console.log('touched')
          process.stdin.resume()\`, input.path], { stdio: ['pipe', 'pipe', 'inherit'] })
        await once(other.stdout, 'data')
        const own = memory.mappingMemory(mapping)
        const theirs = memory.processMemory(other.pid)
        const shared = [about(own.rssBytes, size), about(own.pssBytes, size / 2), about(own.sharedBytes, size),
          about(own.privateBytes, 0), theirs.rssBytes > size, theirs.rssBytes - theirs.pssBytes > size / 2 - 2 ** 20]
        other.stdin.end()
        await once(other, 'exit')
        let code
        try { memory.processMemory(other.pid) } catch (error) { code = error.code }
        answer([...shared, code, about(memory.mappingMemory(mapping).pssBytes, size)])`
      const wanted = 'as wanted'
      const expected = [wanted, wanted, wanted, wanted, true, true, 'PROCESS_MEMORY_UNREADABLE', wanted]
      expect(ask(script, { input: { path } })).toEqual(expected)
    })

    test('mappingMemory() is zero for an empty file and after unmapping, whatever lies there by then', () => {
      const empty = join(folder, 'empty')
      writeFileSync(empty, '')
      using nothing = mapFile(empty)
      expect(mappingMemory(nothing)).toEqual(NOTHING)

      const [first, second] = [writePattern(folder, 'first', 4 * MIB), writePattern(folder, 'second', 4 * MIB)]
      const gone = mapFile(first)
      gone.close()
      expect(mappingMemory(gone)).toEqual(NOTHING)
      // The kernel gives the next mapping of that size the same place.
      using next = mapFile(second)
      expect(new Uint8Array(next.buffer(0, 4 * MIB))[1]).toBe(31)
      expect(mappingMemory(next).rssBytes).toBeGreaterThan(0)
      expect(mappingMemory(gone)).toEqual(NOTHING)
    })

    test('mappingMemory() counts on while a buffer keeps a closed mapping', () => {
      const file = writePattern(folder, 'kept', 4096)
      const mapping = mapFile(file)
      const view = new Uint8Array(mapping.buffer(0, 4096))
      mapping.close()
      expect(view[1]).toBe(31)
      expect(mappingMemory(mapping).rssBytes).toBe(4096)
    })
  })
})
