import { describe, expect, test } from 'vitest'
import { eventText } from '../src/commands/serve/event-text.ts'
import { statusLines } from '../src/commands/status/status-lines.ts'

const GIB = 2 ** 30
const SINCE = '2026-01-02T03:04:05.000Z'
const NOW = Date.parse(SINCE) + 200_000
const plain = { bold: keep, dim: keep, good: keep, bad: keep }

function keep(text: string): string {
  return text
}

function version(number: number, state: 'ready' | 'releasing' | 'unloaded', changes: object = {}) {
  const facts = { fingerprint: 'f', byteLength: GIB, heldBytes: GIB, arenaBytes: 0, residentBytes: GIB }
  return {
    version: number,
    state,
    ...facts,
    shards: 2,
    tensors: 9,
    leases: 0,
    since: SINCE,
    changed: false,
    ...changes,
  }
}

function client(name: string, leases: readonly { checkpoint: string; version: number; count?: number }[], uid = 1000) {
  const held = leases.map((lease, at) => ({ lease: at + 1, count: 1, ...lease }))
  return { id: 7, pid: 4711, uid, gid: 100, name, since: SINCE, leases: held }
}

function status(changes: object = {}) {
  const facts = { coordinator: 'id', pid: 42, socket: '/run/x.sock', since: SINCE, protocol: 1 }
  const budget = { budgetBytes: 4 * GIB, budgetFrom: 'half of the machine', heldBytes: 2 * GIB, lingeringBytes: 0 }
  const omitted = { omittedCheckpoints: 0, omittedClients: 0 }
  return { ...facts, ...budget, ...omitted, software: '', loading: 0, checkpoints: [], clients: [], ...changes }
}

describe('statusLines', () => {
  test('shows the coordinator, and says that there is nothing else', () => {
    expect(statusLines(status(), NOW, plain)).toEqual([
      `coordinator  process 42, since ${SINCE} (3 min 20 s)`,
      'socket       /run/x.sock',
      'memory       2.00 GiB held, a budget of 4.00 GiB (half of the machine)',
      '',
      'no checkpoints',
      '',
      'no clients',
    ])
    expect(statusLines(status({ lingeringBytes: GIB }), NOW, plain)[3]).toBe(
      'lingering    1.00 GiB of closed versions, still read by the coordinator itself',
    )
    expect(statusLines(status({ budgetBytes: null }), NOW, plain)[2]).toContain('no budget')
    const facts = statusLines(status({ software: 'onecopy 0.1.0', loading: 2 }), NOW, plain).slice(1, 3)
    expect(facts).toEqual(['software     onecopy 0.1.0', 'loading      2 checkpoints'])
  })

  test('says how many checkpoints and clients there was no room for', () => {
    const lines = statusLines(status({ omittedCheckpoints: 1, omittedClients: 12 }), NOW, plain)
    expect(lines.at(-1)).toBe('too much for one answer: 1 checkpoint and 12 clients are not shown')
  })

  test('has no column for what is in RAM when it was not measured', () => {
    const versions = [version(1, 'ready', { residentBytes: null })]
    const checkpoints = [{ name: 'm', source: '/models/m', backing: 'sealed', pinned: false, versions }] as const
    const lines = statusLines(status({ checkpoints }), NOW, plain).slice(4, 6)
    for (const line of lines) expect(line.split(/ {2,}/)).toHaveLength(9)
    expect(lines.join()).not.toContain('in RAM')
  })

  test('has a row for each version, and marks changed files', () => {
    const versions = [version(1, 'releasing', { leases: 3, changed: true }), version(2, 'ready')]
    const unloaded = version(1, 'unloaded', { heldBytes: 0, residentBytes: null })
    const checkpoints = [
      { name: 'm', source: '/models/m', backing: 'sealed', pinned: true, versions },
      { name: 'n', source: ['/models/n/a', '/models/n/b'], backing: 'file', pinned: false, versions: [unloaded] },
    ] as const
    const rows = statusLines(status({ checkpoints }), NOW, plain).slice(5, 8)
    expect(rows.map((row) => row.split(/ {2,}/))).toEqual([
      ['m', '1', 'sealed', '1.00 GiB', '1.00 GiB', '1.00 GiB', '3', 'yes', 'releasing files changed', '/models/m'],
      ['m', '2', 'sealed', '1.00 GiB', '1.00 GiB', '1.00 GiB', '0', 'yes', 'ready', '/models/m'],
      ['n', '1', 'file', '1.00 GiB', '0 B', '–', '0', 'no', 'unloaded', '/models/n/a and 1 more'],
    ])
  })

  test('has a column for the memory of arenas when there are any', () => {
    const versions = [version(1, 'releasing'), version(2, 'ready', { heldBytes: 2 * GIB, arenaBytes: GIB })]
    const checkpoints = [{ name: 'm', source: '/models/m', backing: 'sealed', pinned: false, versions }] as const
    const [head, ...rows] = statusLines(status({ checkpoints }), NOW, plain).slice(4, 7)
    expect(head!.split(/ {2,}/).slice(3, 7)).toEqual(['size', 'held', 'of it arenas', 'in RAM'])
    expect(rows.map((row) => row.split(/ {2,}/).slice(3, 7))).toEqual([
      ['1.00 GiB', '1.00 GiB', '0 B', '1.00 GiB'],
      ['1.00 GiB', '2.00 GiB', '1.00 GiB', '1.00 GiB'],
    ])
  })

  test('has a row for each client with what it holds, and a name cannot steer the terminal', () => {
    const held = { checkpoint: 'm', version: 2 }
    const clients = [
      client('server.js', [
        { ...held, count: 2 },
        { ...held, version: 1 },
      ]),
      client('evil\u001b[2J', []),
    ]
    const rows = statusLines(status({ clients }), NOW, plain).slice(6)
    expect(rows.map((row) => row.trim().split(/ {2,}/))).toEqual([
      ['client', 'name', 'process', 'user', 'since', 'holds'],
      ['7', 'server.js', '4711', '1000', '3 min 20 s', 'm@2 × 2, m@1'],
      ['7', '"evil\\u001b[2J"', '4711', '1000', '3 min 20 s', 'nothing'],
    ])
  })
})

describe('eventText', () => {
  test('says what happened to a version, and to whom', () => {
    expect(eventText({ type: 'evicted', checkpoint: 'm', version: 2 })).toMatch(/^evicted m@2: /)
    expect(eventText({ type: 'retired', checkpoint: 'm' })).toMatch(/^retired m: /)
    const leaving = client('a.js', [{ checkpoint: 'm', version: 2 }])
    expect(eventText({ type: 'detached', client: leaving })).toBe(
      'detached client 7: a.js (process 4711, user 1000), which held m@2',
    )
    const error = Object.assign(new RangeError('too many'), { code: 'CLIENT_REFUSED' })
    expect(eventText({ type: 'refused', error, pid: null, uid: null })).toBe('refused: too many (CLIENT_REFUSED)')
    expect(eventText({ type: 'refused', error, pid: 4711, uid: 1000 })).toBe(
      'refused process 4711 of user 1000: too many (CLIENT_REFUSED)',
    )
    expect(eventText({ type: 'unledgered', error })).toBe('too many (CLIENT_REFUSED)')
    expect(eventText({ type: 'writer', checkpoint: 'm', version: 2, path: '/x' })).toContain('/x, which m@2 maps')
    expect(eventText({ type: 'unguarded', checkpoint: 'm', version: 2, error })).toMatch(
      /^not guarded: m@2, .*too many/,
    )
  })

  test('says nothing of commands that only ask, unless another user calls itself one', () => {
    const own = process.geteuid?.() ?? 0
    expect(eventText({ type: 'attached', client: client('onecopy status', [], own) })).toBe(null)
    expect(eventText({ type: 'attached', client: client('onecopy status', [], own + 1) })).toMatch(/^attached /)
  })
})
