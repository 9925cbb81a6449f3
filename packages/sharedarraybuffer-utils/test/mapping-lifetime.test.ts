import { expect, test } from 'vitest'
import { ask, describeWithAddon, hasCommand, runScript, temporaryFolder, writePattern } from './support.ts'

// In processes of their own: they collect garbage at will, and their counts are nobody else's.
describeWithAddon('lifetime of a mapping', () => {
  const folder = temporaryFolder()
  const path = writePattern(folder, 'weights', 3 * 4096 + 17)
  const more = Array.from({ length: 4 }, (_, at) => writePattern(folder, `shard-${at}`, 4096 * (at + 1), at))
  const NOTHING = { maps: 0, mappings: 0, descriptors: 0 }

  // Ends a script: what is left of the file, once everything that can be collected was.
  const REST = `
    const rest = () => ({ maps: mapsOf(input.path), mappings: memory.mappingCount(), descriptors: descriptorsOf(input.path) })
    await collectUntil(() => Object.values(rest()).every((count) => count === 0))`

  test('mappingCount() counts mappings, not handles', () => {
    const script = `
      const counts = [memory.mappingCount()]
      const handles = [input.path, input.path, ...input.more].map((path) => memory.mapFile(path))
      for (const handle of handles) { counts.push(memory.mappingCount()); handle.close() }
      answer([...counts, memory.mappingCount()])`
    expect(ask(script, { input: { path, more } })).toEqual([0, 5, 5, 4, 3, 2, 1, 0])
  })

  test('a mapping goes when it is closed and its last buffer was collected, and not before', () => {
    const script = `
      let mapping = memory.mapFile(input.path)
      let buffers = [mapping.buffer(0, 10), mapping.buffer(5, 4099), mapping.buffer(0, 0)]
      const states = [mapsOf(input.path)]
      mapping.close()
      buffers.shift()
      for (let i = 0; i < 5; i++) { gc(); await turn() }
      states.push(mapsOf(input.path), new Uint8Array(buffers[0])[0], memory.mappingCount())
      mapping = undefined
      buffers = undefined
      ${REST}
      answer({ states, rest: rest() })`
    expect(ask(script, { input: { path } })).toEqual({ states: [1, 1, 5 * 31, 1], rest: NOTHING })
  })

  test('a mapping that was dropped without close() goes with its collection', () => {
    const script = `
      ;(() => { memory.mapFile(input.path); new Uint8Array(memory.mapFile(input.path).buffer(1, 5000))[0] })()
      const during = mapsOf(input.path)
      ${REST}
      answer({ during, rest: rest() })`
    expect(ask(script, { input: { path } })).toEqual({ during: 1, rest: NOTHING })
  })

  test('a buffer alone keeps a dropped mapping alive', () => {
    const script = `
      const buffer = (() => memory.mapFile(input.path).buffer(1, 5))()
      for (let i = 0; i < 20; i++) { gc(); await turn() }
      answer([mapsOf(input.path), ...new Uint8Array(buffer)])`
    expect(ask(script, { input: { path } })).toEqual([1, 31, 62, 93, 124])
  })

  test.each([
    ['closed', 'mapping.close()'],
    ['dropped', ''],
    ['closed with buffers alive', 'kept.push(mapping.buffer(0, 4096)); mapping.close()'],
  ])('1,000 mappings that are %s leave no maps, descriptors or counts behind', (_, end) => {
    const script = `
      let kept = []
      const use = () => {
        const mapping = memory.mapFile(input.path)
        new Uint8Array(mapping.buffer(3, 4099))[0]
        ${end}
      }
      use()
      
      let most = 0
      for (let i = 0; i < 1000; i++) {
        use()
        if (i % 50 === 49) { kept = []; gc(); await turn(); most = Math.max(most, mapsOf(input.path)) }
      }
      ${REST}
      answer({ few: most <= 100, rest: rest() })`
    expect(ask(script, { input: { path } })).toEqual({ few: true, rest: NOTHING })
  })

  test('a thread adopts by number, and its buffer outlives it in a process that never loaded the addon', () => {
    // The worker is the only thread that loads the library: were it unloaded with the worker, the deleter would be gone.
    const script = `
      for (let round = 0; round < 3; round++) {
        const worker = inWorker(\`
          const mapping = memory.mapFile(workerData)
          const again = memory.adoptFileMapping(mapping.share())
          mapping.close()
          parentPort.postMessage([again.buffer(1, 5), again.buffer(4096, 8192)])\`, input.path)
        const end = ended(worker)
        let buffers = await message(worker)
        await end
        const bytes = [...new Uint8Array(buffers[0])]
        if (mapsOf(input.path) !== 1 || bytes.join() !== '31,62,93,124') throw new Error('lost: ' + bytes)
        buffers = undefined
        await collectUntil(() => mapsOf(input.path) === 0)
      }
      gc()
      answer(mapsOf(input.path))`
    expect(ask(script, { input: { path }, library: null })).toBe(0)
  })

  test('a thread that adopts too late gets MAPPING_CLOSED', () => {
    const script = `
      const mapping = memory.mapFile(input.path)
      const share = mapping.share()
      mapping.close()
      const worker = inWorker(\`
        try { memory.adoptFileMapping(workerData) } catch (error) { parentPort.postMessage([error.code, error.path]) }\`, share)
      answer(await message(worker))`
    expect(ask(script, { input: { path } })).toEqual(['MAPPING_CLOSED', path])
  })

  test.each([
    ['returns', 'parentPort.postMessage(0)', ''],
    ['calls process.exit()', 'parentPort.postMessage(0); setImmediate(() => process.exit(3))', ''],
    ['throws', 'parentPort.postMessage(0); setImmediate(() => { throw new TypeError("wanted") })', ''],
    ['is terminated', 'parentPort.postMessage(0); setInterval(() => mapping.buffer(0, 9), 1)', 'worker.terminate()'],
    ['is terminated in a loop', 'parentPort.postMessage(0); for (;;) mapping.buffer(0, 9)', 'worker.terminate()'],
  ])('a thread that %s without closing gives its handle back', (_, code, then) => {
    const script = `
      const worker = inWorker('const mapping = memory.mapFile(workerData); const kept = mapping.buffer(0, 5);' +
        ${JSON.stringify(code)}, input.path)
      const end = ended(worker)
      worker.on('error', () => {})
      await new Promise((resolve) => worker.once('message', resolve))
      ${then}
      await end
      ${REST}
      answer(rest())`
    expect(ask(script, { input: { path } })).toEqual(NOTHING)
  })

  test('a thread may be terminated in the middle of mapFile(), buffer() and close()', () => {
    const script = `
      for (let round = 0; round < 60; round++) {
        const worker = inWorker(\`
          parentPort.postMessage(0)
          for (;;) {
            const mapping = memory.mapFile(workerData)
            mapping.buffer(1, 5)
            try { memory.mapFile(workerData, { expectedByteLength: 3 }) } catch {}
            mapping.close()
          }\`, input.path)
        await message(worker)
        await new Promise((resolve) => setTimeout(resolve, round % 4))
        await worker.terminate()
      }
      ${REST}
      answer(rest())`
    expect(ask(script, { input: { path } })).toEqual(NOTHING)
  })

  test('four threads that map, adopt, drop and close the same files at once leave nothing behind', () => {
    const script = `
      const mapping = memory.mapFile(input.path)
      const workers = Array.from({ length: 4 }, (_, seed) => inWorker(\`
        let wrong = 0
        const keep = []
        for (let i = 0; i < 2000; i++) {
          const path = workerData.more[(i + workerData.seed) % workerData.more.length]
          const own = memory.mapFile(path)
          const adopted = memory.adoptFileMapping(workerData.share)
          if (new Uint8Array(own.buffer(0, 4))[0] !== path.at(-1).charCodeAt(0) - 48) wrong++
          if (new Uint8Array(adopted.buffer(1, 4))[0] !== 31) wrong++
          if (i % 3) own.close()
          if (i % 5) adopted.close()
          if (i % 100 === 0) keep.push(own.closed ? adopted : own)
          if (i % 500 === 0) await new Promise((resolve) => setImmediate(resolve))
        }
        parentPort.postMessage([wrong, keep.length])\`, { ...input, seed, share: mapping.share() }))
      const ends = workers.map(ended)
      const wrong = (await Promise.all(workers.map(message))).map(([count]) => count)
      await Promise.all(ends)
      mapping.close()
      ${REST}
      answer({ wrong, rest: rest() })`
    expect(ask(script, { input: { path, more } })).toEqual({ wrong: [0, 0, 0, 0], rest: NOTHING })
  })

  test('a process may end at once while threads hold mappings and buffers', () => {
    const script = `
      const workers = [1, 2].map(() => inWorker(\`
        const mapping = memory.mapFile(workerData)
        parentPort.postMessage(mapping.buffer(0, 9))
        for (;;) { mapping.buffer(1, 5); memory.mapFile(workerData) }\`, input.path))
      globalThis.kept = await Promise.all(workers.map(message))
      process.exit(7)`
    expect(runScript(script, { input: { path } })).toMatchObject({ status: 7, signal: null, stderr: '' })
  })

  test.skipIf(!hasCommand('prlimit', '--version') || !hasCommand('truncate', '--version'))(
    'mapFile() says MAP_FAILED with the limit when the address space is too small, and the process goes on',
    () => {
      const script = `
        import { execFileSync } from 'node:child_process'
        import { truncateSync, writeFileSync, rmSync } from 'node:fs'
        const huge = input.path + '.huge'
        writeFileSync(huge, '')
        execFileSync('truncate', ['--size=1T', huge])
        const used = Number(readFileSync('/proc/self/statm', 'utf8').split(' ')[0]) * 4096
        const limit = used + 2 ** 36
        execFileSync('prlimit', ['--pid', String(process.pid), '--as=' + limit])
        const errors = [{}, { expectedByteLength: 2 ** 40 }].map((options) => {
          try { memory.mapFile(huge, options) } catch ({ code, message, syscall, errnoName, path }) {
            return { code, syscall, errnoName, path: path === huge, limit: message.includes(String(limit)) }
          }
        })
        const leaked = descriptorsOf(huge)
        rmSync(huge)
        const mapping = memory.mapFile(input.path)
        answer({ errors, leaked, mappings: memory.mappingCount(),
          byte: new Uint8Array(mapping.buffer(1, 2))[0] })`
      const error = { code: 'MAP_FAILED', syscall: 'mmap', errnoName: 'ENOMEM', path: true, limit: true }
      expect(ask(script, { input: { path } })).toEqual({ errors: [error, error], leaked: 0, mappings: 1, byte: 31 })
    },
  )

  test.skipIf(!hasCommand('prlimit', '--version'))(
    'mapFile() says EMFILE, the limit and what raises it when no descriptor is left; mapDescriptor() needs none',
    () => {
      const script = `
        import { closeSync, openSync } from 'node:fs'
        const own = memory.openRegularFile(input.path)
        const taken = []
        try { for (;;) taken.push(openSync('/dev/null')) } catch {}
        let refused
        try { memory.mapFile(input.path) } catch ({ code, syscall, message }) { refused = [code, syscall, message] }
        const mapping = memory.mapDescriptor(own, input.path)
        own.close()
        const byte = new Uint8Array(mapping.buffer(1, 2))[0]
        mapping.close()
        for (const descriptor of taken) closeSync(descriptor)
        answer({ refused, byte, left: descriptorsOf(input.path) })`
      const text =
        'this process may have 60 files open at a time; raise that with ulimit -n, or LimitNOFILE= of its service'
      expect(ask(script, { input: { path }, wrap: ['prlimit', '--nofile=60'] })).toEqual({
        refused: ['EMFILE', 'open', `EMFILE: open '${path}': ${text}`],
        byte: 31,
        left: 0,
      })
    },
  )
})
