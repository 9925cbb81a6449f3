import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { checkErrors } from '../scripts/check-errors.mjs'

const roots: string[] = []

afterEach(() => {
  for (const root of roots.splice(0)) rmSync(root, { recursive: true, force: true })
})

const ERRORS = 'packages/checkpoint/src/errors.ts'
const OPEN = 'packages/checkpoint/src/open.ts'
const PAGE = 'docs/errors.md'

const SOUND: Readonly<Record<string, string>> = {
  'packages/checkpoint/package.json': '{}',
  [ERRORS]: "// not a code: 'IN_A_COMMENT'\nexport type Code = 'SHARD_NOT_FOUND' | 'SHARD_TOO_SMALL'\n",
  [OPEN]: "throw new CheckpointError('SHARD_NOT_FOUND')\nthrow new CheckpointError('SHARD_TOO_SMALL')\n",
  [PAGE]: '# Errors\n\n### `SHARD_NOT_FOUND`\n\nText.\n\n### `SHARD_TOO_SMALL`\n\n```md\n### `IN_AN_EXAMPLE`\n```\n',
}

function problemsWith(changes: Readonly<Record<string, string>>, base = SOUND): string[] {
  return check(changes, base).problems
}

function check(changes: Readonly<Record<string, string>> = {}, base = SOUND): ReturnType<typeof checkErrors> {
  const root = mkdtempSync(join(tmpdir(), 'onecopy-errors-'))
  roots.push(root)
  for (const [path, content] of Object.entries({ ...base, ...changes })) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), content)
  }
  return checkErrors(root)
}

describe('checkErrors()', () => {
  test('finds no problem and counts what it read when source and page agree', () => {
    expect(check()).toEqual({ problems: [], files: 1, codes: 2 })
  })

  test('fails when there is no errors.ts, no code or no page', () => {
    expect(problemsWith({}, {})).toEqual([
      expect.stringContaining('Found no packages/*/src/errors.ts'),
      expect.stringContaining('docs/errors.md does not exist'),
    ])
    expect(problemsWith({ [ERRORS]: 'export {}\n', [PAGE]: '# Errors\n' })).toEqual([
      expect.stringContaining('Found no error code'),
    ])
    const { [PAGE]: _, ...withoutPage } = SOUND
    expect(problemsWith({}, withoutPage)).toEqual([expect.stringContaining('docs/errors.md does not exist')])
  })

  test('refuses a code without an entry and an entry without a code', () => {
    const problems = problemsWith({ [PAGE]: '### `SHARD_NOT_FOUND`\n\n### `SHARD_GONE`\n\n#### `SHARD_TOO_SMALL`\n' })
    expect(problems).toEqual([
      expect.stringContaining('SHARD_TOO_SMALL has no entry in docs/errors.md'),
      expect.stringMatching(/^docs\/errors\.md:3: SHARD_GONE is declared by no/),
    ])
  })

  test('refuses a second entry for a code', () => {
    const problems = problemsWith({ [PAGE]: `${SOUND[PAGE]}\n### \`SHARD_NOT_FOUND\`\n` })
    expect(problems).toEqual([expect.stringContaining('SHARD_NOT_FOUND has a second entry, the first is on line 3')])
  })

  test('refuses a code that is only declared, or only named in a comment', () => {
    const problems = problemsWith({ [OPEN]: "throw new CheckpointError('SHARD_NOT_FOUND') // 'SHARD_TOO_SMALL'\n" })
    expect(problems).toEqual([expect.stringContaining('SHARD_TOO_SMALL is used nowhere')])
  })

  test('accepts a code that errors.ts itself uses, a member of a code object, and a use in another package', () => {
    expect(
      problemsWith({ [ERRORS]: `${SOUND[ERRORS]}fail('SHARD_NOT_FOUND', 'SHARD_TOO_SMALL')\n`, [OPEN]: '' }),
    ).toEqual([])
    expect(problemsWith({ [OPEN]: 'fail(codes.SHARD_NOT_FOUND, codes.SHARD_TOO_SMALL)\n' })).toEqual([])
    expect(
      problemsWith({
        [OPEN]: "fail('SHARD_NOT_FOUND')\n",
        'packages/client/package.json': '{}',
        'packages/client/src/attach.ts': "fail('SHARD_TOO_SMALL')\n",
      }),
    ).toEqual([])
  })
})
