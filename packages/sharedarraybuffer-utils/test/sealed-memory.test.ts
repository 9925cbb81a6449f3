import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { adoptDescriptor, openRegularFile } from '../src/descriptor.ts'
import type { FileMapping } from '../src/mapping.ts'
import { isSealed, type SealOptions, sealBytes, sealFile } from '../src/sealed-memory.ts'
import { canImport } from './python.ts'
import { isCloseOnExec, testFolder } from './sockets.ts'
import {
  ask,
  describeWithAddon,
  failure,
  hasCommand,
  patternBytes,
  runScript,
  temporaryFolder,
  writePattern,
} from './support.ts'

const MIB = 2 ** 20
const hasPrlimit = hasCommand('prlimit', '--version')

/** Seals of linux/fcntl.h: SEAL, SHRINK, GROW, WRITE. */
const F_GET_SEALS = 1034
const F_ADD_SEALS = 1033
const ALL_SEALS = 0b1111

async function seal(path: string, byteLength: number, options: SealOptions = {}): Promise<FileMapping> {
  using file = openRegularFile(path)
  return await sealFile(file, path, byteLength, options)
}

function bytesOf(mapping: FileMapping): Buffer {
  return Buffer.from(mapping.buffer(0, mapping.byteLength))
}

/** Memory of ours in this process: descriptors, and lines of the memory map. */
function memories(label: string): { descriptors: number; maps: number } {
  const links = readdirSync('/proc/self/fd').map((descriptor) => {
    try {
      return readlinkSync(`/proc/self/fd/${descriptor}`)
    } catch {
      return '' // the descriptor of this very listing
    }
  })
  const isOurs = (text: string): boolean => text.includes('/memfd:onecopy:') && text.includes(label)
  const maps = readFileSync('/proc/self/maps', 'utf8').split('\n')
  return { descriptors: links.filter(isOurs).length, maps: maps.filter(isOurs).length }
}

describeWithAddon('sealFile()', () => {
  const folder = temporaryFolder()

  test.each([0, 1, 4095, 4096, 4097, MIB, 32 * MIB - 1, 32 * MIB + 1, 65 * MIB + 4711])(
    'gives the bytes of a file of %d, read through the page cache and around it',
    async (byteLength) => {
      const path = join(folder, `size-${byteLength}`)
      const unit = patternBytes(MIB + 3)
      const file = Buffer.alloc(byteLength)
      for (let at = 0; at < byteLength; at += unit.byteLength) file.set(unit.subarray(0, byteLength - at), at)
      writeFileSync(path, file)
      for (const method of ['buffered', 'direct'] as const) {
        const progress: number[] = []
        const onProgress = (doneBytes: number): unknown => progress.push(doneBytes)
        using mapping = await seal(path, byteLength, { method, onProgress })
        expect(mapping).toMatchObject({ backing: 'sealed', byteLength, path })
        expect(bytesOf(mapping).equals(file)).toBe(true)
        expect(progress.at(-1) ?? 0).toBe(byteLength)
        expect(progress).toEqual([...progress].sort((a, b) => a - b))
      }
    },
  )

  test.each(['buffered', 'direct', undefined] as const)(
    'with ranges copies these, and no more than their blocks, read %s',
    async (method) => {
      const byteLength = 40 * MIB + 4711
      const path = join(folder, `ranges-${method}`)
      const file = randomBytes(byteLength)
      writeFileSync(path, file)
      const given = [
        [39 * MIB + 5, byteLength],
        [4097, 4099],
        [20_000, 20_000],
        [1, 2],
        [4099, 9001], // touches the one before
        [MIB + 4095, 35 * MIB + 1], // more than one job
        [MIB + 5000, MIB + 6000], // inside the one before
      ] as const
      const ranges = given.map(([begin, end]) => ({ begin, end }))
      const progress: number[] = []
      const onProgress = (doneBytes: number): unknown => progress.push(doneBytes)
      using mapping = await seal(path, byteLength, { ...(method && { method }), ranges, onProgress })
      expect(mapping).toMatchObject({ backing: 'sealed', byteLength, path })
      const { blocks } = fstatSync(mapping.descriptor.number)
      const bytes = bytesOf(mapping)
      for (const { begin, end } of ranges)
        expect(bytes.subarray(begin, end).equals(file.subarray(begin, end))).toBe(true)
      const wanted = 34 * MIB - 4094 + MIB + 4706 + 4904 + 1
      expect(progress.at(-1)).toBe(wanted)
      expect(progress).toEqual([...progress].sort((a, b) => a - b))
      expect(blocks * 512).toBeLessThanOrEqual(wanted + 8 * 4096)
      expect(bytes.subarray(12_288, MIB).every((byte) => byte === 0)).toBe(true)
    },
  )

  test('with no ranges, or empty ones, takes no memory', async () => {
    const path = writePattern(folder, 'no-ranges', 100_000)
    for (const ranges of [[], [{ begin: 5000, end: 5000 }]]) {
      using mapping = await seal(path, 100_000, { ranges })
      expect(fstatSync(mapping.descriptor.number)).toMatchObject({ size: 100_000, blocks: 0 })
    }
  })

  test('refuses a range that is not in the file, and nothing stays behind', async () => {
    const path = writePattern(folder, 'outside', 1000)
    for (const [begin, end] of [
      [0, 1001],
      [-1, 5],
      [7, 6],
      [0.5, 1],
      [0, Number.NaN],
    ] as const) {
      await failure(
        () =>
          seal(path, 1000, {
            ranges: [
              { begin: 0, end: 10 },
              { begin, end },
            ],
          }),
        'RANGE_OUT_OF_BOUNDS',
      )
    }
    expect(memories(path)).toEqual({ descriptors: 0, maps: 0 })
  })

  test('takes the length that it is given, also when the file is longer', async () => {
    const path = writePattern(folder, 'longer', 10_000)
    using mapping = await seal(path, 5000, { method: 'direct' })
    expect(bytesOf(mapping).equals(patternBytes(10_000).subarray(0, 5000))).toBe(true)
  })

  test('what happens to the file afterwards changes nothing', async () => {
    const path = writePattern(folder, 'overwritten', 100_000)
    using mapping = await seal(path, 100_000)
    writeFileSync(path, 'gone')
    expect(bytesOf(mapping).equals(patternBytes(100_000))).toBe(true)
  })

  test('seals of the same file are memory of their own, and close() gives each back', async () => {
    const path = writePattern(folder, 'twice', 10_000)
    const one = await seal(path, 10_000)
    const other = await seal(path, 10_000)
    expect(one.id).not.toBe(other.id)
    expect(memories(path)).toEqual({ descriptors: 2, maps: 2 })
    one.close()
    other.close()
    expect(memories(path)).toEqual({ descriptors: 0, maps: 0 })
  })

  test('labels the memory with the end of the path, whatever characters it has', async () => {
    const path = writePattern(folder, `${'モデル'.repeat(25)}.bin`, 10)
    const label = `/${'深'.repeat(400)}/${'é'.repeat(99)}x`
    using mapping = await seal(path, 10)
    expect(memories('モデル.bin')).toEqual({ descriptors: 1, maps: 1 })
    using descriptor = openRegularFile(path)
    using other = await sealFile(descriptor, label, 10)
    expect(other.path).toBe(label)
    expect(memories('éééx')).toEqual({ descriptors: 1, maps: 1 })
    expect(mapping.byteLength).toBe(10)
  })

  test.each(['buffered', 'direct'] as const)('refuses a file that was cut meanwhile, read %s', async (method) => {
    const path = writePattern(folder, `cut-${method}`, 100_000)
    const error = await failure(() => seal(path, 200_000, { method }), 'FILE_CHANGED')
    expect(error).toMatchObject({ path, actualBytes: 100_000, expectedBytes: 200_000 })
    expect(error.message).toBe(`"${path}" changed while it was copied: it ends before 200000 bytes`)
    await failure(() => seal(path, 100 * MIB, { method }), 'FILE_CHANGED')
    expect(memories(path)).toEqual({ descriptors: 0, maps: 0 })
  })

  test('names file and system call when it cannot be read', async () => {
    const path = writePattern(folder, 'unreadable', 10)
    using writeOnly = adoptDescriptor(openSync(path, 'a'))
    const error = await failure(() => sealFile(writeOnly, path, 10), 'SEAL_FAILED')
    expect(error).toMatchObject({ path, syscall: 'pread', errnoName: 'EBADF' })
    using folderItself = adoptDescriptor(openSync(folder, 'r'))
    const other = await failure(() => sealFile(folderItself, folder, 10, { method: 'direct' }), 'SEAL_FAILED')
    expect(other).toMatchObject({ path: folder, errnoName: 'EISDIR' })
    expect([memories(path), memories(`${folder} `)]).toEqual(Array(2).fill({ descriptors: 0, maps: 0 }))
  })

  test('stops with the reason of an aborted signal, before and during the copy', async () => {
    const path = writePattern(folder, 'aborted', 1000)
    ftruncateOf(path, 300 * MIB)
    const reason = new RangeError('enough')
    await expect(seal(path, 300 * MIB, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    const controller = new AbortController()
    let done = 0
    const onProgress = (doneBytes: number): void => {
      done = doneBytes
      controller.abort(reason)
    }
    await expect(seal(path, 300 * MIB, { signal: controller.signal, onProgress })).rejects.toBe(reason)
    expect(done).toBeLessThan(300 * MIB)
    expect(memories(path)).toEqual({ descriptors: 0, maps: 0 })
  })

  test('what onProgress throws comes back, ends the copy, and nothing stays behind', async () => {
    const path = writePattern(folder, 'progress', 1000)
    ftruncateOf(path, 320 * MIB)
    let calls = 0
    const onProgress = (): void => {
      calls++
      throw new RangeError('mine')
    }
    await expect(seal(path, 320 * MIB, { onProgress })).rejects.toThrow(new RangeError('mine'))
    expect(calls).toBeLessThanOrEqual(3) // one for each job that was running
    expect(memories(path)).toEqual({ descriptors: 0, maps: 0 })
  })

  test.skipIf(!hasPrlimit)('leaves nothing behind where the system gives no descriptor, memory or addresses', () => {
    const path = join(folder, 'limited')
    writeFileSync(path, '')
    ftruncateOf(path, 64 * MIB)
    const script = `
      import { execFileSync } from 'node:child_process'
      import { closeSync, openSync } from 'node:fs'
      const limit = (what) => execFileSync('prlimit', ['--pid', String(process.pid), what])
      const ours = () => [...readdirSync('/proc/self/fd').map(linkOf), ...readFileSync('/proc/self/maps', 'utf8').split('\\n')]
        .filter((text) => text.includes('memfd:onecopy')).length
      const descriptor = memory.openRegularFile(input.path)
      const seal = () => memory.sealFile(descriptor, input.path, ${64 * MIB})
        .then((mapping) => mapping.close(), ({ code, syscall, errnoName }) => [code, syscall, errnoName])
      await seal() // what node loads lazily is loaded by now
      const size = 1024 * Number(/VmSize:\\s*(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1])
      limit(input.limit === '--as' ? '--as=' + (size + ${40 * MIB}) + ':' : input.limit)
      const files = []
      if (input.fill) try { for (;;) files.push(openSync('/dev/null')) } catch {}
      const failed = await seal()
      for (const file of files) closeSync(file)
      answer([failed, ours()])`
    const limits = [
      { limit: '--fsize=1000000:', code: 'SEAL_FAILED', syscall: 'ftruncate', errnoName: 'EFBIG' },
      { limit: '--nofile=60:', fill: true, code: 'SEAL_FAILED', syscall: 'memfd_create', errnoName: 'EMFILE' },
      { limit: '--as', code: 'MAP_FAILED', syscall: 'mmap', errnoName: 'ENOMEM' },
    ]
    for (const { code, syscall, errnoName, ...input } of limits) {
      const found = ask(script, { input: { path, ...input } })
      expect(found).toEqual([[code, syscall, errnoName], 0])
    }
  })
})

describeWithAddon('sealed memory', () => {
  const folder = temporaryFolder()

  test('has all four seals, and its descriptor only reads and is not inherited', async () => {
    using mapping = await seal(writePattern(folder, 'seals', 5000), 5000)
    expect(isSealed(mapping.descriptor)).toBe(true)
    const descriptor = mapping.descriptor.number
    expect(isCloseOnExec(descriptor)).toBe(true)
    expect(fstatSync(descriptor).size).toBe(5000)
    const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${descriptor}`, 'utf8'))?.[1] ?? ''
    expect(Number.parseInt(flags, 8) & 0b11).toBe(constants.O_RDONLY)
    expect(() => writeSync(descriptor, 'x', 0)).toThrow(/EBADF/)
    expect(() => ftruncateSync(descriptor, 0)).toThrow(/EINVAL|EBADF/)
    const written = /^VmFlags:.*\bwr\b/m
    const map = readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
    expect(map.find((lines) => lines.includes(`${folder}/seals`))).not.toMatch(written)
  })

  test('opened again for writing by whoever received it, can still not be written, cut or grown', async () => {
    using mapping = await seal(writePattern(folder, 'reopened', 5000), 5000)
    const again = openSync(`/proc/self/fd/${mapping.descriptor.number}`, 'r+')
    expect(() => writeSync(again, 'x', 0)).toThrow(/EPERM/)
    expect(() => ftruncateSync(again, 100)).toThrow(/EPERM/)
    expect(() => ftruncateSync(again, 10_000)).toThrow(/EPERM/)
    closeSync(again)
    expect(() => openSync(`/proc/self/fd/${mapping.descriptor.number}`, 'w')).toThrow(/EPERM/)
    expect(bytesOf(mapping).equals(patternBytes(5000))).toBe(true)
  })

  test.skipIf(!canImport('mmap', 'fcntl', 'ctypes'))(
    'in another process can be mapped for reading alone, and not be unsealed or punched',
    async () => {
      using mapping = await seal(writePattern(folder, 'attacked', 8192), 8192)
      const script = `
import ctypes, fcntl, json, mmap, os
def attempt(call):
    try:
        call(); return "done"
    except OSError as error:
        return os.strerror(error.errno)
read_only, again = 3, os.open("/proc/self/fd/3", os.O_RDWR)
libc = ctypes.CDLL(None, use_errno=True)
def punch(fd):
    if libc.fallocate(fd, 3, ctypes.c_long(0), ctypes.c_long(4096)) != 0: raise OSError(ctypes.get_errno(), "")
def protect():
    m = mmap.mmap(again, 8192, mmap.MAP_SHARED, mmap.PROT_READ)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    address = libc.mmap(None, 8192, 1, 1, again, 0)
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if libc.mprotect(address, 8192, 3) != 0: raise OSError(ctypes.get_errno(), "")
print(json.dumps({
  "seals": fcntl.fcntl(read_only, ${F_GET_SEALS}) & ${ALL_SEALS},
  "write": attempt(lambda: os.pwrite(again, b"x", 0)),
  "map": attempt(lambda: mmap.mmap(again, 8192, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)),
  "protect": attempt(protect),
  "punch": attempt(lambda: punch(again)),
  "unseal": attempt(lambda: fcntl.fcntl(again, ${F_ADD_SEALS}, 16)),
  "bytes": list(mmap.mmap(read_only, 8192, mmap.MAP_SHARED, mmap.PROT_READ)[:4]),
}))`
      const stdio = ['ignore', 'pipe', 'pipe', mapping.descriptor.number] as const
      const { stdout, stderr } = spawnSync('python3', ['-c', script], { stdio: [...stdio], encoding: 'utf8' })
      expect(stderr).toBe('')
      const notPermitted = 'Operation not permitted'
      expect(JSON.parse(stdout)).toEqual({
        seals: ALL_SEALS,
        write: notPermitted,
        map: notPermitted,
        protect: expect.stringMatching(/Permission denied|not permitted/),
        punch: notPermitted,
        unseal: notPermitted,
        bytes: [...patternBytes(4)],
      })
    },
  )

  test('ends whoever writes to it, and says what it was', async () => {
    const path = writePattern(folder, 'stray', 5000)
    const script = `
      const mapping = await memory.sealFile(memory.openRegularFile(input), input, 5000)
      new Uint8Array(mapping.buffer(0, 5000))[7] = 1`
    const { signal, stderr } = runScript(script, { input: path, wrap: hasPrlimit ? ['prlimit', '--core=0'] : [] })
    expect(signal).toBe('SIGSEGV')
    expect(stderr).toContain(path)
  })
})

describeWithAddon('sealBytes()', () => {
  test.each([0, 1, 4097, 3 * MIB + 1])('gives %d bytes as sealed memory', (byteLength) => {
    const bytes = patternBytes(byteLength)
    using mapping = sealBytes(bytes, 'directory of a model')
    expect(mapping).toMatchObject({ backing: 'sealed', byteLength, path: 'directory of a model' })
    expect(isSealed(mapping.descriptor)).toBe(true)
    expect(bytesOf(mapping).equals(bytes)).toBe(true)
  })

  test('takes bytes of shared memory, and of a part of a buffer', () => {
    const shared = new Uint8Array(new SharedArrayBuffer(100)).fill(7)
    using one = sealBytes(shared.subarray(10, 20), 'part')
    expect([...bytesOf(one)]).toEqual(Array(10).fill(7))
  })

  test.skipIf(!hasPrlimit)('leaves nothing behind when there is no memory', () => {
    const script = `
      const ours = () => readdirSync('/proc/self/fd').map(linkOf).filter((link) => link.includes('memfd:onecopy')).length
      try { memory.sealBytes(new Uint8Array(2e6), 'large') } catch ({ code, errnoName }) { answer([code, errnoName, ours()]) }`
    expect(ask(script, { wrap: ['prlimit', '--fsize=1000000'] })).toEqual(['SEAL_FAILED', 'EFBIG', 0])
  })
})

describeWithAddon('isSealed()', () => {
  test('is false for files, folders and devices', () => {
    const folder = testFolder()
    for (const path of [writePattern(folder, 'file', 10), folder, '/dev/null', '/proc/self/status']) {
      using descriptor = adoptDescriptor(openSync(path, 'r'))
      expect(isSealed(descriptor)).toBe(false)
    }
  })

  test.skipIf(!canImport('fcntl'))('is false for memory that lacks one of the four seals', async () => {
    const script = `
import fcntl, os, sys
for seals in (0, 14, 7, 11, 13, 15):
    memory = os.memfd_create("m", os.MFD_ALLOW_SEALING); os.ftruncate(memory, 10)
    fcntl.fcntl(memory, ${F_ADD_SEALS}, seals)
    os.dup2(memory, 10 + seals, inheritable=True)
os.execv(sys.argv[1], [sys.argv[1], "--input-type=module", "-e", sys.argv[2]])`
    const library = new URL('../dist/index.js', import.meta.url).href
    const code = `import { adoptDescriptor, isSealed } from ${JSON.stringify(library)}
      console.log([0, 14, 7, 11, 13, 15].map((seals) => isSealed(adoptDescriptor(10 + seals))).join())`
    const { stdout } = spawnSync('python3', ['-c', script, process.execPath, code], { encoding: 'utf8' })
    expect(stdout.trim()).toBe('false,false,false,false,false,true')
  })
})

function ftruncateOf(path: string, byteLength: number): void {
  const descriptor = openSync(path, 'r+')
  ftruncateSync(descriptor, byteLength)
  closeSync(descriptor)
}
