import { truncateSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import {
  describeWithAddon,
  hasCommand,
  runScript,
  type ScriptResult,
  temporaryFolder,
  writePattern,
} from './support.ts'

const PAGE = 4096

// A table of parts as directories have them: 24 bytes a record, then the names.
const DESCRIBE = `
const describe = (mapping, parts) => {
  const names = parts.map(([, , name]) => Buffer.from(name, 'utf8'))
  const namesOffset = parts.length * 24
  const table = Buffer.from(new SharedArrayBuffer(namesOffset + names.reduce((sum, name) => sum + name.length, 0)))
  let at = 0
  parts.forEach(([begin, end], index) => {
    table.writeBigUInt64LE(BigInt(begin), index * 24)
    table.writeBigUInt64LE(BigInt(end - begin), index * 24 + 8)
    table.writeUInt32LE(at, index * 24 + 16)
    table.writeUInt32LE(names[index].length, index * 24 + 20)
    names[index].copy(table, namesOffset + at)
    at += names[index].length
  })
  mapping.describe({ buffer: table.buffer, recordsOffset: 0, stride: 24, count: parts.length, beginField: 0,
    lengthField: 8, nameOffsetField: 16, nameLengthField: 20, namesOffset })
}
`

describeWithAddon('fault report', () => {
  const folder = temporaryFolder()
  const path = writePattern(folder, 'weights', 3 * PAGE)
  const wrap = hasCommand('prlimit', '--version') ? ['prlimit', '--core=0'] : []
  const die = (script: string, input: unknown = { path }): ScriptResult =>
    runScript(`${DESCRIBE}${script}`, { input, wrap })
  const PARTS = `[[0, 100, 'header'], [100, 100, 'nothing'], [100, 5000, 'layers.0.weight'], [5000, 9000, 'layers.1.weight']]`
  const writeLine = (where: string, tensor = ''): string =>
    `onecopy: a write to read-only weights: file "${path}", byte ${where}${tensor}. Tensor views are read-only and shared by every worker; write to a copy, such as view.data.slice()\n`

  test('a write to a view dies by SIGSEGV after one line that names file, byte, tensor and how to copy', () => {
    const result = die(`
      const mapping = memory.mapFile(input.path)
      describe(mapping, ${PARTS})
      new Uint8Array(mapping.buffer(100, 5000))[4242 - 100] = 1`)
    expect(result.signal).toBe('SIGSEGV')
    expect(result.stderr).toBe(writeLine('4242', ', tensor "layers.0.weight" (its byte 4142)'))
  })

  test.each([
    [0, 'header', 0],
    [99, 'header', 99],
    [100, 'layers.0.weight', 0],
    [4999, 'layers.0.weight', 4899],
    [5000, 'layers.1.weight', 0],
    [8999, 'layers.1.weight', 3999],
  ])('a write to byte %i is laid to tensor %s', (byte, name, within) => {
    const result = die(`
      const mapping = memory.mapFile(input.path)
      describe(mapping, ${PARTS})
      new Uint8Array(mapping.buffer(${byte}, ${byte} + 1))[0] = 1`)
    expect(result).toMatchObject({ signal: 'SIGSEGV' })
    expect(result.stderr).toBe(writeLine(String(byte), `, tensor "${name}" (its byte ${within})`))
  })

  test('a write to bytes that belong to no tensor names file and byte alone', () => {
    const result = die(`
      const mapping = memory.mapFile(input.path)
      describe(mapping, ${PARTS})
      new Uint8Array(mapping.buffer(0, 12288))[9000] = 1`)
    expect(result).toMatchObject({ signal: 'SIGSEGV', stderr: writeLine('9000') })
  })

  test('a write without describe() names file and byte, also when only the buffer is left', () => {
    const result = die(`
      const mapping = memory.mapFile(input.path)
      const floats = new Float32Array(mapping.buffer(4, 404))
      mapping.close()
      floats.fill(1, 25)`)
    expect(result).toMatchObject({ signal: 'SIGSEGV', stderr: writeLine('104') })
  })

  test('the first description of a mapping stays, also when its describer closed', () => {
    const result = die(`
      const first = memory.mapFile(input.path)
      const second = memory.mapFile(input.path)
      describe(first, [[0, 5000, 'first']])
      describe(second, [[0, 5000, 'second']])
      first.close()
      gc()
      new Uint8Array(second.buffer(8, 16))[0] = 1`)
    expect(result).toMatchObject({ signal: 'SIGSEGV', stderr: writeLine('8', ', tensor "first" (its byte 8)') })
  })

  test.each([
    ['that loaded the library', 'const buffer = memory.mapFile(workerData).buffer(0, 9)'],
    ['while the main thread is idle', 'const buffer = memory.mapFile(workerData).buffer(0, 4096)'],
  ])('a write in a thread %s is reported like one in the main thread', (_, code) => {
    const result = die(`
      const worker = inWorker(\`${code}; new Uint8Array(buffer)[5] = 1\`, input.path)
      await ended(worker)`)
    expect(result).toMatchObject({ signal: 'SIGSEGV', stderr: writeLine('5') })
  })

  test('a write in a thread that never loaded the library is reported too', () => {
    const result = die(`
      const mapping = memory.mapFile(input.path)
      const worker = new Worker('new Uint8Array(require("node:worker_threads").workerData)[6] = 1',
        { eval: true, workerData: mapping.buffer(0, 4096) })
      await ended(worker)`)
    expect(result).toMatchObject({ signal: 'SIGSEGV', stderr: writeLine('6') })
  })

  test('a write deep in the recursion of a thread is reported: the handler has a stack of its own', () => {
    const result = die(`
      const worker = inWorker(\`
        const view = new Uint8Array(memory.mapFile(workerData).buffer(0, 9))
        let depth = 0
        const measure = () => { depth++; measure() }
        try { measure() } catch {}
        const descend = (left) => { if (left === 0) view[7] = 1; else descend(left - 1) }
        descend(Math.floor(depth * 0.6))\`, input.path)
      await ended(worker)`)
    expect(result).toMatchObject({ signal: 'SIGSEGV', stderr: writeLine('7') })
  })

  test('a write by a thread of the pool (crypto.randomFill) is reported', () => {
    const result = die(`
      import { randomFill } from 'node:crypto'
      const mapping = memory.mapFile(input.path)
      await new Promise((resolve) => randomFill(new Uint8Array(mapping.buffer(64, 4096)), resolve))`)
    // Some versions of OpenSSL let the kernel fill the buffer, which then refuses instead of dying.
    if (result.signal === null) expect(result).toMatchObject({ status: 0, stderr: '' })
    else expect(result).toMatchObject({ signal: 'SIGSEGV', stderr: expect.stringContaining('a write to read-only') })
  })

  test('fs.readSync() into a view is refused by the kernel with EFAULT, and nothing dies', () => {
    const result = die(`
      import { openSync, readSync, read } from 'node:fs'
      const view = new Uint8Array(memory.mapFile(input.path).buffer(0, 4096))
      const descriptor = openSync(input.path)
      try { readSync(descriptor, view) } catch (error) { console.log(error.code) }
      console.log(await new Promise((resolve) => read(descriptor, view, 0, 9, 0, (error) => resolve(error.code))))
      console.log(view[1])`)
    expect(result).toMatchObject({ status: 0, signal: null, stderr: '', stdout: 'EFAULT\nEFAULT\n31\n' })
  })

  test('a read of a file that was cut dies by SIGBUS after one line that names file, byte and tensor', () => {
    const file = writePattern(folder, 'cut', 3 * PAGE)
    const result = die(
      `
      import { truncateSync } from 'node:fs'
      const mapping = memory.mapFile(input.file)
      describe(mapping, ${PARTS})
      const view = new Uint8Array(mapping.buffer(5000, 9000))
      if (view[0] !== ((5000 * 31 + (5000 >> 8) * 7) & 255)) throw new Error('not the pattern')
      truncateSync(input.file, 4096)
      console.log(view[3500])`,
      { file },
    )
    expect(result).toMatchObject({ signal: 'SIGBUS', stdout: '' })
    expect(result.stderr).toBe(
      `onecopy: bytes of a mapped file are gone: file "${file}", byte 8500, tensor "layers.1.weight" (its byte 3500). The file was cut, or its disk failed, while it was mapped; replace files by renaming, never in place\n`,
    )
    truncateSync(file, 0)
  })

  test('hostile names of tensors and files cannot forge lines or commands of the terminal', () => {
    const hostile = [
      'a\nonecopy: all is well\r\u001b[2J\u0007\u007f"\0',
      'b\u0085c\u009b2Jd\u2028e\u2029f\u202eg',
      'tensor.'.repeat(1000),
      'déjà 重み',
      '',
    ]
    const file = writePattern(folder, 'x\ny\u001b[31m\u2028"z', PAGE)
    const lines = hostile.map((name, at) => {
      const parts = hostile.map((other, index) => [index * 10, index * 10 + 10, other])
      const result = die(
        `
        const mapping = memory.mapFile(input.file)
        describe(mapping, input.parts)
        new Uint8Array(mapping.buffer(0, 100))[${at} * 10 + 1] = 1`,
        { file, parts },
      )
      expect(result.signal, name).toBe('SIGSEGV')
      expect(result.stderr.endsWith('\n')).toBe(true)
      const line = result.stderr.slice(0, -1)
      expect(
        line.startsWith(`onecopy: a write to read-only weights: file "${join(folder, 'x?y?[31m??z')}", byte`),
      ).toBe(true)
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these must not be there
      expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e]/)
      return /tensor "(.*)" \(its byte 1\)/.exec(line)?.[1]
    })
    expect(lines).toEqual([
      'a?onecopy: all is well??[2J????',
      'b?c?2Jd?e?f?g',
      `${'tensor.'.repeat(29).slice(0, 200)}...`,
      'déjà 重み',
      '',
    ])
  })

  test('a table that changes after describe() cannot crash the report', () => {
    const result = die(`
      const mapping = memory.mapFile(input.path)
      const table = Buffer.from(new SharedArrayBuffer(48))
      mapping.describe({ buffer: table.buffer, recordsOffset: 0, stride: 24, count: 2, beginField: 0,
        lengthField: 8, nameOffsetField: 16, nameLengthField: 20, namesOffset: 48 })
      table.fill(255)
      table.fill(0, 0, 8)
      table.fill(0, 24, 32)
      new Uint8Array(mapping.buffer(0, 100))[3] = 1`)
    expect(result).toMatchObject({ signal: 'SIGSEGV', stderr: writeLine('3') })
  })

  test.each(['SIGSEGV', 'SIGBUS'] as const)('%s that a process sends kills it without a line', (signal) => {
    const result = die(`
      const mapping = memory.mapFile(input.path)
      process.kill(process.pid, '${signal}')
      setInterval(() => {}, 1000)`)
    expect(result).toMatchObject({ signal, stderr: '', stdout: '' })
  })

  test('a WebAssembly access out of bounds stays a RuntimeError, in threads and while mappings come and go', () => {
    const result = die(`
      const code = \`
        // (module (memory 1) (func (export "load") (param i32) (result i32) local.get 0 i32.load))
        const bytes = Uint8Array.of(0,97,115,109,1,0,0,0,1,6,1,96,1,127,1,127,3,2,1,0,5,3,1,0,1,7,8,1,4,108,111,97,100,0,0,
          10,9,1,7,0,32,0,40,2,0,11)
        const { load } = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports
        let caught = 0
        for (let i = 0; i < 500; i++) {
          const mapping = memory.mapFile(path)
          try { load(0x7fffffff) } catch (error) { if (error instanceof WebAssembly.RuntimeError) caught++ }
          mapping.close()
        }\`
      const workers = [1, 2].map(() => inWorker('const path = workerData;' + code + 'parentPort.postMessage(caught)', input.path))
      const counts = workers.map(message)
      const own = new Function('memory', 'path', code + 'return caught')(memory, input.path)
      console.log([own, ...await Promise.all(counts)].join())`)
    expect(result).toMatchObject({ status: 0, stderr: '', stdout: '500,500,500\n' })
  })

  test('a stack overflow stays a RangeError, in the main thread and in workers', () => {
    const result = die(`
      const code = 'const f = () => f() + 1; let name; try { f() } catch (error) { name = error.name }'
      const worker = inWorker(code + '; parentPort.postMessage(name)', null)
      console.log(await message(worker), new Function(code + '; return name')())`)
    expect(result).toMatchObject({ status: 0, stderr: '', stdout: 'RangeError RangeError\n' })
  })
})
