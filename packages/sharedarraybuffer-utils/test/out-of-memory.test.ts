import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ask, describeWithAddon, hasCommand, temporaryFolder, writePattern } from './support.ts'

const MIB = 2 ** 20

/** Fails allocations of one size, which a file names while it is there. */
const FAILING_MALLOC = `#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
static void *(*real)(size_t);
void *malloc(size_t size) {
  if (!real) real = dlsym(RTLD_NEXT, "malloc");
  static const char *armed; static size_t failing;
  if (!armed) { armed = getenv("ARMED"); failing = strtoul(getenv("FAILING_BYTES"), 0, 10); }
  if (size == failing && access(armed, F_OK) == 0) { errno = ENOMEM; return 0; }
  return real(size);
}
void *aligned_alloc(size_t alignment, size_t size) {
  void *memory = 0;
  if (size == strtoul(getenv("FAILING_BYTES"), 0, 10) && access(getenv("ARMED"), F_OK) == 0) return 0;
  return posix_memalign(&memory, alignment, size) ? 0 : memory;
}
`

describeWithAddon('where there is no memory', () => {
  const folder = temporaryFolder()
  const path = writePattern(folder, 'weights', 3 * MIB)
  const library = join(folder, 'failing-malloc.so')

  function answerOf(call: string, failingBytes: number): unknown {
    writeFileSync(`${library}.c`, FAILING_MALLOC)
    execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, `${library}.c`, '-ldl'])
    const armed = join(folder, 'armed')
    const script = `
      import { rmSync, writeFileSync } from 'node:fs'
      const file = memory.openRegularFile(input.path)
      const mapping = memory.mapDescriptor(file, input.path)
      const call = async () => ${call}
      writeFileSync(input.armed, '')
      const refused = await Promise.race([
        call().then(() => 'no error', ({ code, expectedBytes }) => [code, expectedBytes]),
        new Promise((resolve) => setTimeout(resolve, 20_000, 'never settled')),
      ])
      rmSync(input.armed)
      await call()
      answer(refused)
      process.exit(0)`
    const env = { LD_PRELOAD: library, ARMED: armed, FAILING_BYTES: `${failingBytes}` }
    return ask(script, { input: { path, armed }, env })
  }

  test.skipIf(!hasCommand('cc', '--version')).each([
    ['populate() by reading', `memory.populate(mapping, undefined, { method: 'read' })`, MIB],
    ['sealFile()', `memory.sealFile(file, input.path, ${3 * MIB}, { method: 'buffered' })`, MIB],
    [
      'assembleSealed()',
      `memory.assembleSealed('x', 9, new Uint8Array(), [
        { descriptor: file, path: input.path, byteLength: ${3 * MIB}, dropBehind: false, runs: Float64Array.of(5, 0, 9) }])`,
      MIB,
    ],
    ['residentBytes()', `memory.residentBytes(mapping)`, 65_536],
  ])('%s says OUT_OF_MEMORY with the bytes, and works again afterwards', (_, call, failingBytes) => {
    expect(answerOf(call, failingBytes)).toEqual(['OUT_OF_MEMORY', failingBytes])
  })
})
