import { existsSync } from 'node:fs'
import { defineConfig } from 'vitest/config'

const { platform, arch, versions, env } = process
const prebuild = `packages/sharedarraybuffer-utils/prebuilds/${platform}-${arch}/abi${versions.modules}.node`
const hasAddon = !env['ONECOPY_SKIP_NATIVE'] && existsSync(new URL(prebuild, import.meta.url))

export default defineConfig({
  test: {
    include: ['packages/*/test/**/*.test.ts', 'test/**/*.test.ts', 'benchmarks/test/**/*.test.ts'],
    setupFiles: hasAddon ? [] : ['test/without-addon.ts'],
    // Child processes, threads and gigabytes of sparse files: slow machines must not turn that into failures.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    pool: 'forks',
    maxWorkers: 2,
  },
})
