import { expect, test } from 'vitest'
import { ask, describeWithAddon, hasCommand, temporaryFolder, writePattern } from './support.ts'

describeWithAddon('a process that maps more files than it keeps open', () => {
  test.skipIf(!hasCommand('prlimit', '--version'))('reads and populates all, and opens a file again when asked', () => {
    const folder = temporaryFolder()
    const paths = Array.from({ length: 800 }, (_, at) => writePattern(folder, `${at}`, 5000, at))
    const script = `
      const mappings = input.map((path) => memory.mapFile(path))
      const bytes = mappings.map((mapping) => new Uint8Array(mapping.buffer(0, 1))[0])
      for (const mapping of mappings.slice(-3)) await memory.populate(mapping)
      await memory.lock(mappings[799])
      const resident = memory.residentBytes(mappings[799])
      const before = descriptorsOf(input[799])
      const { number } = mappings[799].descriptor
      const same = mappings[799].descriptor.number === number
      const sealed = await memory.sealFile(mappings[799].descriptor, input[799], 5000)
      const open = descriptorsOf(input[799])
      for (const mapping of mappings) mapping.close()
      answer({ right: bytes.every((byte, at) => byte === (at & 255)), resident, before, same, open, sealed: sealed.byteLength,
        left: input.filter((path) => descriptorsOf(path) > 0).length })`
    const right = { right: true, resident: 5000, before: 0, same: true, open: 1, sealed: 5000, left: 0 }
    expect(ask(script, { input: paths, wrap: ['prlimit', '--nofile=600'] })).toEqual(right)
  })

  test.skipIf(!hasCommand('prlimit', '--version'))(
    'says that it may have no more files open, and not that a file changed',
    () => {
      const folder = temporaryFolder()
      const paths = Array.from({ length: 600 }, (_, at) => writePattern(folder, `${at}`, 100, at))
      const script = `
      import { openSync, closeSync } from 'node:fs'
      const mappings = input.map((path) => memory.mapFile(path))
      const open = []
      try { for (;;) open.push(openSync(input[0])) } catch {}
      let found
      try { mappings[599].descriptor } catch ({ code, errnoName, message }) { found = [code, errnoName, message.includes('ulimit -n')] }
      for (const number of open) closeSync(number)
      answer([...found, mappings[599].descriptor.closed])`
      const right = ['MAP_FAILED', 'EMFILE', true, false]
      expect(ask(script, { input: paths, wrap: ['prlimit', '--nofile=700'] })).toEqual(right)
    },
  )

  test('gives out no other file that has the name by now', () => {
    const folder = temporaryFolder()
    const paths = Array.from({ length: 600 }, (_, at) => writePattern(folder, `${at}`, 100, at))
    const other = writePattern(folder, 'other', 100)
    const script = `
      import { renameSync } from 'node:fs'
      const mappings = input.paths.map((path) => memory.mapFile(path))
      renameSync(input.other, input.paths[599])
      let code
      try { mappings[599].descriptor } catch (error) { code = error.code }
      await memory.populate(mappings[599])
      answer([code, new Uint8Array(mappings[599].buffer(0, 1))[0], mappings[0].descriptor.closed])`
    expect(ask(script, { input: { paths, other } })).toEqual(['FILE_CHANGED', 599 & 255, false])
  })
})
