import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { addon } from '../src/addon.ts'
import { ask, describeWithAddon, hasCommand, temporaryFolder, writePattern } from './support.ts'

/** Runs a command under a seccomp filter that answers one system call with EPERM, as services and containers do. */
const REFUSING = `#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int count, char **arguments) {
  struct sock_filter filter[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#ifdef VALUE
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, REFUSED, 0, 3),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[ARGUMENT])),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, VALUE, 0, 1),
#else
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, REFUSED, 0, 1),
#endif
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 2;
  execvp(arguments[1], arguments + 1);
  return 127;
}
`

describeWithAddon('under a policy that refuses a system call', () => {
  const folder = temporaryFolder()
  const byteLength = 3_000_000
  const path = writePattern(folder, 'weights', byteLength)

  /** @param when the call is refused where one of its arguments has a value; @default always */
  function under(call: string, script: string, when?: { readonly argument: number; readonly value: number }): unknown {
    const command = join(folder, `refuse-${call}-${when?.value}`)
    writeFileSync(`${command}.c`, REFUSING)
    const defines = [`-DREFUSED=SYS_${call}`, ...(when ? [`-DARGUMENT=${when.argument}`, `-DVALUE=${when.value}`] : [])]
    execFileSync('cc', [...defines, '-o', command, `${command}.c`])
    const prepared = `
      const attempt = async (call) => { try { return await call() } catch ({ code, syscall }) { return [code, syscall ?? null] } }
      const file = memory.openRegularFile(input)
      const mapping = memory.mapDescriptor(file, input)
      ${script}
      process.exit(0)`
    return ask(prepared, { input: path, wrap: [command] })
  }

  test.skipIf(!hasCommand('cc', '--version'))(
    'residentBytes() is null where mincore is refused, and nothing else fails for it',
    () => {
      const script = `
      const before = memory.residentBytes(mapping)
      await memory.populate(mapping)
      await memory.prefetch(mapping)
      memory.evict(mapping)
      const sealed = await memory.sealFile(file, input, ${byteLength})
      const runs = Float64Array.of(5, 0, 9)
      const source = { descriptor: file, path: input, byteLength: ${byteLength}, dropBehind: true, runs }
      const assembled = await memory.assembleSealed('x', 9, new Uint8Array(), [source])
      answer([before, sealed.backing, assembled.backing, memory.residentBytes(mapping)])`
      expect(under('mincore', script)).toEqual([null, 'sealed', 'sealed', null])
    },
  )

  test.skipIf(!hasCommand('cc', '--version'))('populate() and prefetch() read where madvise is refused', () => {
    const canPopulate = addon!.memoryLimits().populateRead
    const script = `
      const limits = memory.capabilities()
      await memory.populate(mapping)
      await memory.prefetch(mapping)
      answer([limits.populateRead, memory.residentBytes(mapping)])`
    expect(under('madvise', script, { argument: 2, value: 22 })).toEqual([false, byteLength])
    expect(under('madvise', script, { argument: 2, value: 3 })).toEqual([canPopulate, byteLength])
  })

  test.skipIf(!hasCommand('cc', '--version'))(
    'lock() says LOCK_REFUSED, and not a limit, where mlock is refused',
    () => {
      const script = `answer([await attempt(() => memory.lock(mapping)), new Uint8Array(mapping.buffer(1, 2))[0]])`
      expect(under('mlock', script)).toEqual([['LOCK_REFUSED', null], 31])
    },
  )

  test.skipIf(!hasCommand('cc', '--version'))(
    'isSealed() says that it may not ask, where the seals of memory are not told',
    () => {
      const script = `
      const sealed = memory.sealBytes(new Uint8Array(10), 'x')
      answer(await attempt(() => memory.isSealed(sealed.descriptor)))`
      expect(under('fcntl', script, { argument: 1, value: 1034 })).toEqual(['SEAL_FAILED', 'fcntl'])
    },
  )

  test.skipIf(!hasCommand('cc', '--version'))(
    'sealFile() copies where nothing can be dropped from the page cache; evict() says that it cannot',
    () => {
      const script = `
      const sealed = await memory.sealFile(file, input, ${byteLength}, { method: 'buffered' })
      answer([sealed.byteLength, await attempt(() => memory.evict(mapping))])`
      expect(under('fadvise64', script)).toEqual([byteLength, ['RESIDENCY_FAILED', 'posix_fadvise']])
    },
  )
})
