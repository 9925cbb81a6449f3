import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { addon, addonFailure } from '../src/addon.ts'
import { capabilities } from '../src/capabilities.ts'
import { ask, hasCommand } from './support.ts'

describe('capabilities()', () => {
  test('names this machine and what it lacks', () => {
    const { platform, arch, nodeAbi, backings, missing } = capabilities()
    expect({ platform, arch, nodeAbi }).toEqual({
      platform: process.platform,
      arch: process.arch,
      nodeAbi: process.versions.modules,
    })
    expect(backings).toEqual(addon === null ? ['heap'] : ['file', 'heap'])
    expect(missing.some((sentence) => addonFailure !== null && sentence.includes(addonFailure))).toBe(addon === null)
  })

  test.skipIf(addon === null)('asks the kernel', () => {
    const { addonPath, pageBytes, populateRead, sealing, lockLimitBytes, missing } = capabilities()
    expect(existsSync(addonPath)).toBe(true)
    expect(pageBytes).toBeGreaterThanOrEqual(4096)
    expect(missing.some((sentence) => sentence.includes('MADV_POPULATE_READ'))).toBe(!populateRead)
    expect(missing.some((sentence) => sentence.includes('memfd_create'))).toBe(!sealing)
    const limit = /^Max locked memory\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    expect(lockLimitBytes).toBe(limit === 'unlimited' ? null : Number(limit))
  })

  test.skipIf(addon === null || !hasCommand('prlimit', '--version'))('gives the limit of this very process', () => {
    const script = 'answer(memory.capabilities().lockLimitBytes)'
    expect(ask(script, { wrap: ['prlimit', '--memlock=40960'] })).toBe(40960)
  })

  test.skipIf(addon === null)('leaves no descriptors and mappings behind', () => {
    const script = `
      const counts = () => [descriptorCount(), memory.mappingCount()]
      memory.capabilities()
      const before = counts()
      for (let i = 0; i < 100; i++) memory.capabilities()
      // A descriptor that loading the addon needs for a moment may have been counted before, never after.
      answer(counts().map((count, index) => Math.max(0, count - before[index])))`
    expect(ask(script)).toEqual([0, 0])
  })
})
