import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { checkLayers } from '../scripts/check-layers.mjs'

const roots: string[] = []

afterEach(() => {
  for (const root of roots.splice(0)) rmSync(root, { recursive: true, force: true })
})

/** A workspace of two rooms that is in order; each test then replaces the one file that breaks a rule. */
const SOUND: Readonly<Record<string, string>> = {
  'packages/safetensors/package.json': JSON.stringify({ name: '@onecopy/safetensors' }),
  'packages/safetensors/tsconfig.json': JSON.stringify({ references: [] }),
  'packages/safetensors/src/index.ts': "export { parse } from './parse.ts'\nexport type { Header } from './parse.ts'\n",
  'packages/safetensors/src/parse.ts': 'export interface Header {}\nexport function parse(): void {}\n',
  'packages/checkpoint/package.json': JSON.stringify({
    name: '@onecopy/checkpoint',
    dependencies: { '@onecopy/safetensors': 'workspace:*', 'p-queue': '^9.0.0' },
  }),
  'packages/checkpoint/tsconfig.json': JSON.stringify({ references: [{ path: '../safetensors' }] }),
  'packages/checkpoint/src/index.ts': "export { open } from './open.ts'\n",
  'packages/checkpoint/src/open.ts':
    "import { readFileSync } from 'node:fs'\nimport { parse } from '@onecopy/safetensors'\nimport PQueue from 'p-queue'\n" +
    'export const open = [readFileSync, parse, PQueue]\n',
}

function workspace(changes: Readonly<Record<string, string>> = {}, base = SOUND): string {
  const root = mkdtempSync(join(tmpdir(), 'onecopy-layers-'))
  roots.push(root)
  for (const [path, content] of Object.entries({ ...base, ...changes })) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), content)
  }
  return root
}

/** The problems of a workspace with one file replaced. */
function problemsWith(changes: Readonly<Record<string, string>>): string[] {
  return checkLayers(workspace(changes)).problems
}

const OPEN = 'packages/checkpoint/src/open.ts'

describe('checkLayers()', () => {
  test('finds no problem and counts what it read when the workspace is in order', () => {
    expect(checkLayers(workspace())).toEqual({ problems: [], packages: 2, files: 4, imports: 6 })
  })

  test('fails when there is no package, no file or no import', () => {
    expect(checkLayers(workspace({}, {})).problems).toEqual([expect.stringContaining('nothing was checked')])

    const manifest = SOUND['packages/safetensors/package.json']!
    const noFile = checkLayers(workspace({}, { 'packages/safetensors/package.json': manifest }))
    expect(noFile.problems).toContainEqual(expect.stringContaining('Found no source file'))

    const alone = Object.fromEntries(Object.entries(SOUND).filter(([path]) => path.startsWith('packages/safetensors/')))
    const noImport = checkLayers(workspace({ 'packages/safetensors/src/index.ts': 'export {}\n' }, alone))
    expect(noImport).toMatchObject({ packages: 1, files: 2, imports: 0 })
    expect(noImport.problems).toEqual([expect.stringContaining('Found no import')])
  })

  test('refuses a package that is not in the table', () => {
    const problems = problemsWith({
      'packages/attic/package.json': JSON.stringify({ name: '@onecopy/attic' }),
      'packages/attic/tsconfig.json': '{}',
      'packages/attic/src/index.ts': 'export {}\n',
    })
    expect(problems).toEqual([expect.stringContaining('packages/attic is not in the table of rooms')])
  })

  test('refuses a package name that differs from its folder', () => {
    const problems = problemsWith({ 'packages/safetensors/package.json': JSON.stringify({ name: '@onecopy/tensors' }) })
    expect(problems).toEqual([expect.stringContaining('it must be "@onecopy/safetensors"')])
  })

  test('refuses a dependency that is no arrow, in dependencies and in peerDependencies', () => {
    for (const field of ['dependencies', 'peerDependencies']) {
      const problems = problemsWith({
        'packages/safetensors/package.json': JSON.stringify({
          name: '@onecopy/safetensors',
          [field]: { '@onecopy/checkpoint': 'workspace:*' },
        }),
      })
      expect(problems).toContainEqual(
        expect.stringMatching(/^packages\/safetensors\/package\.json: safetensors → checkpoint is not an arrow/),
      )
    }
  })

  test('refuses an import that is no arrow, however it is written', () => {
    for (const statement of [
      "import { attach } from '@onecopy/client'",
      "import type { Client } from '@onecopy/client'",
      "import '@onecopy/client'",
      "import client, { type Client } from '@onecopy/client'",
      "import * as client from '@onecopy/client'",
      "import client = require('@onecopy/client')",
      "import {\n  // a comment with from 'elsewhere'\n  attach,\n} from '@onecopy/client'",
      "export { attach } from '@onecopy/client'",
      "export * from '@onecopy/client'",
      "export type * as client from '@onecopy/client/session'",
      "const client = await import('@onecopy/client')",
      'const client = await import(`@onecopy/client`)',
      "const all = [...import('@onecopy/client')]",
      "let client: import('@onecopy/client').Client",
      `const text = \`\${await import('@onecopy/client')}\``,
      "const path = require.resolve('@onecopy/client')",
      "const path = import.meta.resolve('@onecopy/client')",
    ]) {
      const problems = problemsWith({ [OPEN]: `${statement}\n` })
      expect(problems, statement).toEqual([expect.stringContaining('checkpoint → client is not an arrow of the house')])
      expect(problems[0], statement).toMatch(/^packages\/checkpoint\/src\/open\.ts:\d+: /)
    }
  })

  test('reads no import in comments, strings, templates and regular expressions', () => {
    const problems = problemsWith({
      [OPEN]: [
        "// import '@onecopy/client'",
        "/* import '@onecopy/client' */",
        `const a = "import '@onecopy/client'"`,
        `const b = \`import '@onecopy/client' \${'\`'} import '@onecopy/client'\``,
        "const c = /import '@onecopy\\/client'[/']/.test(a)",
        "const d = { import: '@onecopy/client', from: '@onecopy/client' }",
        "loader.import('@onecopy/client')",
        "const e = await import(d.from + '@onecopy/client')",
        "export const f = 4 / 2, g = '/' // '@onecopy/client'",
        '',
      ].join('\n'),
    })
    expect(problems).toEqual([])
  })

  test('names the line of an import that follows comments, templates and regular expressions', () => {
    const text = `/*\n\n*/ const a = \`\n\${1}\n\`\nconst b = a.replace(/['"\`]/g, "")\nimport "@onecopy/client"\n`
    expect(problemsWith({ [OPEN]: text })).toEqual([expect.stringMatching(/open\.ts:7: /)])
  })

  test('refuses an allowed room that package.json does not declare', () => {
    const problems = problemsWith({ [OPEN]: "import { map } from '@onecopy/sharedarraybuffer-utils'\n" })
    expect(problems).toEqual([expect.stringContaining('@onecopy/sharedarraybuffer-utils is not in dependencies')])
  })

  test('refuses a package from elsewhere that package.json does not declare', () => {
    const problems = problemsWith({ [OPEN]: "import { pack } from 'msgpackr/pack'\nimport '@scope/name/file.js'\n" })
    expect(problems).toEqual([
      expect.stringContaining('msgpackr is not in dependencies'),
      expect.stringContaining('@scope/name is not in dependencies'),
    ])
  })

  test('refuses modules of Node in a pure package, and without node: in every package', () => {
    const pure = problemsWith({ 'packages/safetensors/src/parse.ts': "import 'node:fs'\nimport 'path'\n" })
    expect(pure).toEqual([expect.stringContaining('is pure'), expect.stringContaining('is pure')])
    expect(problemsWith({ [OPEN]: "import 'fs/promises'\n" })).toEqual([
      expect.stringContaining('write it as "node:fs/promises"'),
    ])
  })

  test('refuses a relative import that leaves src, and lets the addon be located beside it', () => {
    const problems = problemsWith({
      [OPEN]: "import '../../safetensors/src/parse.ts'\nimport './index.ts'\nrequire('../prebuilds/addon.node')\n",
    })
    expect(problems).toEqual([expect.stringContaining("leaves the package's src")])
  })

  test('refuses references that differ from the dependencies, in both directions', () => {
    const missing = problemsWith({ 'packages/checkpoint/tsconfig.json': '{}' })
    expect(missing).toEqual([expect.stringContaining('references must have { "path": "../safetensors" }')])
    const surplus = problemsWith({
      'packages/checkpoint/tsconfig.json': JSON.stringify({
        references: [{ path: '../safetensors/tsconfig.json' }, { path: '../sharedarraybuffer-utils' }],
      }),
    })
    expect(surplus).toEqual([expect.stringContaining('dependencies in package.json must have')])
  })

  test('refuses folders and packages named after nothing in particular', () => {
    for (const name of ['utils', 'common', 'core', 'shared', 'types', 'tensor-types']) {
      const problems = problemsWith({ [`packages/checkpoint/src/${name}/file.ts`]: 'export {}\n' })
      expect(problems).toEqual([expect.stringContaining(`no package or folder is called "${name}"`)])
    }
    const problems = problemsWith({
      'packages/core/package.json': JSON.stringify({ name: '@onecopy/core' }),
      'packages/core/tsconfig.json': '{}',
      'packages/core/src/index.ts': 'export {}\n',
    })
    expect(problems).toContainEqual(expect.stringMatching(/^packages\/core: no package or folder is called "core"/))
  })

  test('lets sharedarraybuffer-utils keep its name', () => {
    const problems = problemsWith({
      'packages/sharedarraybuffer-utils/package.json': JSON.stringify({ name: '@onecopy/sharedarraybuffer-utils' }),
      'packages/sharedarraybuffer-utils/tsconfig.json': '{}',
      'packages/sharedarraybuffer-utils/src/index.ts': 'export {}\n',
    })
    expect(problems).toEqual([])
  })

  test('refuses anything but export lists in an index.ts', () => {
    const index = 'packages/checkpoint/src/index.ts'
    expect(problemsWith({ [index]: "export * from './open.ts'\n" })).toEqual([expect.stringContaining('"export *"')])
    for (const statement of [
      "import { open } from './open.ts'",
      'export const open = 1',
      'export default 1',
      'export function open() {}',
      'export type Open = string',
      'console.log(1)',
    ]) {
      const problems = problemsWith({ [index]: `export { open } from './open.ts'\n${statement}\n` })
      expect(problems, statement).toEqual([expect.stringMatching(/index\.ts:2: .*is not an export list/)])
    }
    expect(problemsWith({ [index]: 'export {};\n' })).toEqual([])
  })
})
