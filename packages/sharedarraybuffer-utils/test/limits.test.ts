import { describe, expect, test } from 'vitest'
import { limitBehind } from '../src/addon.ts'
import { SharedMemoryError } from '../src/errors.ts'
import { limitText } from '../src/limits.ts'
import { ask, describeWithAddon, hasCommand } from './support.ts'

const LIMITS = { addressSpaceLimitBytes: 1234567, descriptorLimit: 256 }

describe('limitText()', () => {
  test('names ulimit -n, what was found and what was needed when this process may open no more files', () => {
    const text = limitText({ errnoName: 'EMFILE', syscall: 'open' }, () => LIMITS, 1500)
    expect(text).toBe(
      'this process may have 256 files open at a time, and needs 1500 and those that it has open already; raise that with ulimit -n, or LimitNOFILE= of its service',
    )
    expect(limitText({ errnoName: 'EMFILE', syscall: 'open' }, () => null)).toMatch(
      /^this process may have no more files open;/,
    )
  })

  test('tells the limit of the machine from that of the process', () => {
    expect(limitText({ errnoName: 'ENFILE', syscall: 'open' }, () => LIMITS)).toMatch(
      /^this machine has .*sysctl fs\.file-max/,
    )
  })

  test('names RLIMIT_AS where there is one, and memory where a call needs nothing else', () => {
    const space = limitText({ errnoName: 'ENOMEM', syscall: 'mmap' }, () => LIMITS)
    expect(space).toBe('not enough address space: RLIMIT_AS is 1234567 bytes (ulimit -v)')
    expect(limitText({ errnoName: 'ENOMEM', syscall: 'memfd_create' }, () => LIMITS)).toMatch(
      /^the machine has no more memory/,
    )
  })

  test('is null for an error that is no limit', () => {
    expect(limitText({ errnoName: 'ENOENT', syscall: 'open' }, () => LIMITS)).toBeNull()
  })
})

test.each([
  ['EMFILE', /^this process may have .*ulimit -n/],
  ['EAGAIN', /may have no more threads; .*ulimit -u.*TasksMax=/],
])('limitBehind() reads from the words of Node that a thread cannot be started for %s', (name, text) => {
  const error = Object.assign(new Error(`Worker initialization failure: ${name}`), { code: 'ERR_WORKER_INIT_FAILED' })
  expect(limitBehind(error)).toMatch(text)
  expect(limitBehind(new Error(`Worker initialization failure: ${name}`))).toBeNull()
})

describe('limitBehind()', () => {
  const full = Object.assign(new Error('EMFILE: too many open files'), { errno: -24, code: 'EMFILE', syscall: 'open' })

  test('looks through causes, which may go round', () => {
    expect(
      limitBehind(new TypeError('a', { cause: new SharedMemoryError('SEAL_FAILED', 'b', { cause: full }) })),
    ).toMatch(/ulimit -n/)
    const round = new Error('round')
    round.cause = round
    expect(limitBehind(round)).toBeNull()
    expect(limitBehind('EMFILE')).toBeNull()
  })
})

describeWithAddon('a process that may open no more files', () => {
  test.skipIf(!hasCommand('prlimit', '--version'))('says so with its limit, whatever it tried', () => {
    const script = `
      import { openSync } from 'node:fs'
      try { for (;;) openSync('/dev/null') } catch {}
      const messages = []
      for (const call of [
        () => memory.mapFile(input),
        () => memory.connectUnix('/nowhere'),
        () => memory.listenUnix('/nowhere'),
        () => memory.FileLock.take(input),
        () => memory.sealBytes(new Uint8Array(4), 'label'),
      ]) {
        try { call() } catch ({ message }) { messages.push(message) }
      }
      answer(messages)`
    const messages = ask(script, { input: import.meta.filename, wrap: ['prlimit', '--nofile=60'] }) as string[]
    expect(messages).toHaveLength(5)
    for (const message of messages) expect(message).toMatch(/EMFILE.*: this process may have 60 files .*ulimit -n/)
  })
})
