import { spawnSync } from 'node:child_process'
import { chmodSync, readFileSync, truncateSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { openCheckpoint } from '@onecopy/checkpoint'
import { attach, coordinatorStatus, createWorkerPool, publishTo, retireFrom } from '@onecopy/client'
import { mappingCount } from '@onecopy/sharedarraybuffer-utils'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import {
  collectUntil,
  descriptorCount,
  leasesOf,
  Program,
  refusal,
  runScript,
  saveModel,
  statusWhere,
  temporaryFolder,
} from './support.ts'

const IMPORT = `import { attach } from '@onecopy/client'
const [socket, model] = process.argv.slice(1)`

describe('attach()', () => {
  let folder: string
  let socket: string
  let model: string
  let coordinator: Program

  beforeEach(async () => {
    folder = temporaryFolder()
    socket = join(folder, 's', 'socket')
    model = await saveModel(join(folder, 'model'))
    coordinator = await Program.start('coordinator.mjs', socket)
  })

  it.each(['file', 'sealed'])('gives the bytes of a checkpoint on %s backing, in place', async (backing) => {
    await coordinator.ask('publish', 'a', model, { backing })
    using checkpoint = await attach({ socket, checkpoint: 'a' })
    using opened = await openCheckpoint(model)
    expect(checkpoint).toMatchObject({ backing, version: 1, label: opened.label, fingerprint: opened.fingerprint })
    expect(checkpoint.names).toEqual(opened.names)
    for (const { name, data } of opened.tensors()) expect(checkpoint.tensor(name).data).toEqual(data)
    expect(checkpoint.tensor('t1').buffer).toBeInstanceOf(SharedArrayBuffer)
    expect(opened.version).toBeNull()
  })

  it.each([0, 1, 3])(
    'names the limit, and no coordinator, where this process may open only %i more files',
    async (left) => {
      await coordinator.ask('publish', 'a', model, { backing: 'file' })
      const script = fileURLToPath(new URL('./children/attach-limited.mjs', import.meta.url))
      const run = (more: number): { code?: string; message?: string } => {
        const args = ['-c', 'ulimit -n 100 && exec "$@"', 'sh', process.execPath, script, socket, 'a', String(more)]
        const { stdout, stderr } = spawnSync('sh', args, { encoding: 'utf8', timeout: 60_000 })
        expect(stderr).toBe('')
        return JSON.parse(stdout)
      }
      const { code, message } = run(left)
      expect(code).not.toBe('COORDINATOR_UNREACHABLE')
      expect(message).toMatch(/EMFILE: this process may have 100 files open at a time; .*ulimit -n/)
      expect(run(30)).toEqual({ tensors: 2 })
    },
  )

  it('takes socket and name from the environment, as `onecopy run` gives them', async () => {
    await coordinator.ask('publish', 'a', model)
    const script = `${IMPORT}
      const checkpoint = await attach()
      console.log(checkpoint.version, checkpoint.tensor('t0').data[0])`
    const env = { ONECOPY_SOCKET: socket, ONECOPY_CHECKPOINT: 'a' }
    expect(await runScript(script, [], env).ended).toEqual({ code: 0, stdout: '1 1\n', stderr: '' })
  })

  it('waits for a name that is published in time, and names what there is when it is not', async () => {
    const waiting = attach({ socket, checkpoint: 'a', waitMs: 60_000 })
    const others = Array.from({ length: 15 }, () => attach({ socket, checkpoint: 'a', waitMs: 60_000 }))
    await coordinator.ask('publish', 'a', model)
    const checkpoints = await Promise.all([waiting, ...others])
    for (const checkpoint of checkpoints) checkpoint.close()
    for (const waitMs of [0, 20]) {
      const error = await refusal(attach({ socket, checkpoint: 'b', waitMs }))
      expect(error).toMatchObject({ name: 'CoordinatorError', code: 'CHECKPOINT_UNKNOWN', candidates: ['a'] })
    }
  })

  it('gives a version by its number, as long as somebody holds it', async () => {
    await coordinator.ask('publish', 'a', model)
    const first = await attach({ socket, checkpoint: 'a' })
    await saveModel(model, 9)
    await coordinator.ask('publish', 'a', model)
    const [old, current] = [
      await attach({ socket, checkpoint: 'a', version: 1 }),
      await attach({ socket, checkpoint: 'a' }),
    ]
    expect([old.version, old.tensor('t0').data[0]]).toEqual([1, 1])
    expect([current.version, current.tensor('t0').data[0]]).toEqual([2, 9])
    for (const checkpoint of [first, old, current]) checkpoint.close()
    await statusWhere(coordinator, ({ checkpoints }) => checkpoints[0]!.versions.length === 1)
    const error = await refusal(attach({ socket, checkpoint: 'a', version: 1 }))
    expect(error).toMatchObject({ code: 'VERSION_UNKNOWN', candidates: ['2'] })
  })

  it('uses one connection and one mapping for all attachments of a process, and one lease for each', async () => {
    await coordinator.ask('publish', 'a', model, { backing: 'sealed' })
    await coordinator.ask('publish', 'b', model)
    const attached = await Promise.all(Array.from({ length: 20 }, () => attach({ socket, checkpoint: 'a' })))
    const maps = readFileSync('/proc/self/maps', 'utf8').split('\n')
    expect(maps.filter((line) => line.includes('memfd:onecopy') && line.includes(model))).toHaveLength(3)
    attached.push(await attach({ socket, checkpoint: 'b', name: 'not heard: the connection has its name' }))
    const { clients } = await statusWhere(coordinator, () => true)
    expect(clients).toHaveLength(1)
    expect(clients[0]).toMatchObject({ pid: process.pid, uid: process.geteuid?.() })
    expect(clients[0]!.leases).toMatchObject([
      { checkpoint: 'a', count: 20 },
      { checkpoint: 'b', count: 1 },
    ])
    for (const checkpoint of attached) checkpoint.close()
    await statusWhere(coordinator, (status) => leasesOf(status).length === 0)
  })

  it('close() gives the lease back, once; buffers that were taken stay readable', async () => {
    await coordinator.ask('publish', 'a', model, { backing: 'sealed' })
    const [one, other] = [await attach({ socket, checkpoint: 'a' }), await attach({ socket, checkpoint: 'a' })]
    const { data } = one.tensor('t1')
    one.close()
    one.close()
    await statusWhere(coordinator, (status) => leasesOf(status).length === 1)
    await coordinator.ask('retire', 'a')
    other.close()
    await statusWhere(coordinator, ({ checkpoints }) => checkpoints.length === 0)
    expect(data[4095]).toBe(2)
  })

  it('attaching and closing again and again leaves neither descriptor nor mapping', async () => {
    await coordinator.ask('publish', 'a', model, { backing: 'sealed' })
    ;(await attach({ socket, checkpoint: 'a' })).close()
    const before = [descriptorCount(), mappingCount()]
    for (let i = 0; i < 50; i++) (await attach({ socket, checkpoint: 'a' })).close()
    await collectUntil(() => descriptorCount() <= before[0]! && mappingCount() <= before[1]!)
    await statusWhere(coordinator, (status) => leasesOf(status).length === 0)
  })

  it('a process that ends, or is killed, loses its leases at once', async () => {
    await coordinator.ask('publish', 'a', model)
    const script = `${IMPORT}
      await attach({ socket, checkpoint: 'a' })
      console.log('attached')
      process.stdin.once('data', () => process.exit(0))`
    for (const ends of ['exit', 'kill']) {
      const child = runScript(`${script}\n${ends === 'exit' ? 'process.exit(0)' : ''}`, [socket])
      await child.said('attached')
      if (ends === 'kill') {
        await statusWhere(coordinator, (status) => leasesOf(status).length === 1)
        process.kill(child.pid, 'SIGKILL')
      }
      await child.ended
      await statusWhere(coordinator, ({ clients }) => clients.length === 0)
    }
    expect(leasesOf(await statusWhere(coordinator, () => true))).toEqual([])
  })

  it('what is attached does not keep its process alive, and an attach that waits does', async () => {
    await coordinator.ask('publish', 'a', model)
    const script = `${IMPORT}
      const checkpoint = await attach({ socket, checkpoint: 'a' })
      console.log(checkpoint.tensor('t0').data[0])
      attach({ socket, checkpoint: 'later', waitMs: 60000 }).then((later) => console.log(later.version))`
    const child = runScript(script, [socket])
    await child.said('1\n')
    await saveModel(join(folder, 'later'))
    await coordinator.ask('publish', 'later', join(folder, 'later'))
    expect(await child.ended).toEqual({ code: 0, stdout: '1\n1\n', stderr: '' })
  })

  it('one that is attached ends by itself also while the coordinator is away', async () => {
    await coordinator.ask('publish', 'a', model)
    const script = `${IMPORT}
      const checkpoint = await attach({ socket, checkpoint: 'a' })
      console.log('attached')
      checkpoint.tensor('t0')
      const { existsSync } = await import('node:fs')
      while (existsSync('/proc/' + process.argv[2])) await new Promise((resolve) => setTimeout(resolve, 5))
      console.log(checkpoint.tensor('t1').data[0])`
    const child = runScript(`${script}\nprocess.stdin.destroy()`, [socket, `${coordinator.pid}`])
    await child.said('attached')
    await coordinator.kill()
    expect(await child.ended).toEqual({ code: 0, stdout: 'attached\n2\n', stderr: '' })
  })

  it('refuses files that are no longer what was published, and gives the lease back', async () => {
    await coordinator.ask('publish', 'a', model)
    const before = [descriptorCount(), mappingCount()]
    truncateSync(join(model, 'model-00002-of-00002.safetensors'), 500)
    const error = await refusal(attach({ socket, checkpoint: 'a' }))
    expect(error).toMatchObject({ code: 'RECEIVED_INVALID' })
    expect(error.message).toContain('shard "model-00002-of-00002.safetensors" has 500 bytes; it must have ')
    await statusWhere(coordinator, (status) => leasesOf(status).length === 0)
    expect(mappingCount()).toBe(before[1])
    expect(descriptorCount()).toBe(before[0]! + 1) // the connection
  })

  it('refuses options that a coordinator would end the connection for, and leaves it alone', async () => {
    await coordinator.ask('publish', 'a', model)
    using checkpoint = await attach({ socket, checkpoint: 'a' })
    for (const waitMs of [-1, 1.5, Number.NaN, 2 ** 60]) {
      await expect(attach({ socket, checkpoint: 'a', waitMs })).rejects.toThrow(RangeError)
    }
    await expect(attach({ socket, checkpoint: 'a', version: -1 })).rejects.toThrow(/option version of attach\(\) is -1/)
    await expect(attach({ socket })).rejects.toThrow(TypeError)
    for (const name of ['x'.repeat(300), '\ud800']) {
      await expect(attach({ socket, checkpoint: name })).rejects.toMatchObject({ code: 'NAME_INVALID' })
    }
    await expect(publishTo('a', model, { socket, priority: -1 })).rejects.toThrow(RangeError)
    expect(leasesOf(await statusWhere(coordinator, () => true))).toEqual(['a@1'])
    expect(checkpoint.tensor('t0').data[0]).toBe(1)
  })

  it('a name that no coordinator would show is made printable', async () => {
    await coordinator.ask('publish', 'a', model)
    const name = `${'ü'.repeat(300)}`
    const script = `import { coordinatorStatus } from '@onecopy/client'
      for (const name of ['a\\nb\\u001b[1m', '\\ud800x', ${JSON.stringify(name)}]) {
        const { clients } = await coordinatorStatus({ socket: process.argv[1], name })
        console.log(JSON.stringify(clients[0].name))
      }`
    const { stdout, stderr } = await runScript(script, [socket]).ended
    expect(stderr).toBe('')
    expect(
      stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual(['a�b�[1m', '�x', 'ü'.repeat(85)])
  })

  const ids = ['--reuid=65534', '--regid=65534', '--clear-groups', '--']
  const library = fileURLToPath(new URL('../dist/index.js', import.meta.url))
  const nobodyCanRunHere = spawnSync('setpriv', [...ids, process.execPath, library]).status === 0

  it.skipIf(process.geteuid?.() !== 0 || !nobodyCanRunHere)(
    'tells another user that the socket is not theirs, and one who reaches it that they may not attach',
    async () => {
      await coordinator.ask('publish', 'a', model)
      for (const path of [folder, join(folder, 's')]) chmodSync(path, 0o711)
      const script = `${IMPORT}
        await attach({ socket, checkpoint: 'a' }).catch(({ code, message }) => console.log(code + ': ' + message))`
      const asNobody = (): string => {
        const node = [process.execPath, '--input-type=module', '-e', script, socket]
        const cwd = new URL('.', import.meta.url)
        return spawnSync('setpriv', [...ids, ...node], { encoding: 'utf8', cwd }).stdout
      }
      expect(asNobody()).toMatch(/^COORDINATOR_UNREACHABLE: Not allowed to use the socket/)
      chmodSync(socket, 0o666)
      expect(asNobody()).toMatch(/^CLIENT_REFUSED: Process \d+ of user 65534, group 65534 may not attach/)
    },
  )

  it('hands what it got to a pool; swap() ends running tasks on the old version and starts new ones on the new', async () => {
    await coordinator.ask('publish', 'a', model, { backing: 'sealed' })
    const first = await attach({ socket, checkpoint: 'a' })
    const filename = new URL('./tasks/tensors.mjs', import.meta.url)
    const pool = await createWorkerPool<unknown, unknown>({ checkpoint: first, filename, maxThreads: 1, minThreads: 1 })
    onTestFinished(() => pool.destroy())
    const announced = new Promise<number>((resolve) => first.once('version', ({ version }) => resolve(version)))
    expect(await pool.run('t0', { name: 'firstElement' })).toBe(1)

    await saveModel(model, 9)
    await coordinator.ask('publish', 'a', model, { backing: 'sealed' })
    expect(await announced).toBe(2)
    const next = await first.followLatest()
    expect([next.version, next === first]).toEqual([2, false])
    const gate = new SharedArrayBuffer(4)
    const running = pool.run({ gate, name: 't0' }, { name: 'elementAfterGate' })
    const queued = pool.run('t1', { name: 'firstElement' })
    const { swapped } = await pool.swap(next)
    expect(await pool.run('t0', { name: 'firstElement' })).toBe(9)
    Atomics.store(new Int32Array(gate), 0, 1)
    Atomics.notify(new Int32Array(gate), 0)
    expect(await running).toBe(1)
    expect(await queued).toBe(2)
    await swapped
    first.close()
    await statusWhere(coordinator, (status) => leasesOf(status).join() === 'a@2')
    const { checkpoints } = await statusWhere(coordinator, () => true)
    expect(checkpoints[0]!.versions).toMatchObject([{ version: 2, leases: 1 }])
    await pool.close()
    next.close()
    await statusWhere(coordinator, (status) => leasesOf(status).length === 0)
  })

  it('publishTo(), retireFrom() and coordinatorStatus() ask a coordinator once and leave', async () => {
    const relativePath = relative(process.cwd(), model)
    expect(await publishTo('a', relativePath, { socket, backing: 'sealed', pinned: true })).toBe(1)
    const shards = [1, 2].map((at) => join(relativePath, `model-0000${at}-of-00002.safetensors`))
    expect(await publishTo('b', shards, { socket, load: 'on-demand' })).toBe(1)
    const { checkpoints, clients } = await coordinatorStatus({ socket, name: 'asking' })
    expect(clients.map(({ name }) => name)).toEqual(['asking'])
    expect(checkpoints).toMatchObject([
      { name: 'a', source: model, backing: 'sealed', pinned: true },
      { name: 'b', source: shards.map((path) => join(process.cwd(), path)), versions: [{ state: 'unloaded' }] },
    ])
    expect(await publishTo('url', pathToFileURL(model), { socket })).toBe(1)
    await retireFrom('a', { socket })
    expect(await refusal(retireFrom('a', { socket }))).toMatchObject({ code: 'CHECKPOINT_UNKNOWN' })
    const error = await refusal(publishTo('c', join(folder, 'none'), { socket }))
    expect(error).toMatchObject({ name: 'CoordinatorError', code: 'LOAD_FAILED', checkpoint: 'c' })
    await statusWhere(coordinator, (status) => status.clients.length === 0)
    await coordinator.kill()
    expect(await refusal(coordinatorStatus({ socket }))).toMatchObject({ code: 'COORDINATOR_UNREACHABLE' })
  })

  it('a status that is asked for ends its process when it has come', async () => {
    const script = `import { coordinatorStatus } from '@onecopy/client'
      console.log((await coordinatorStatus({ socket: process.argv[1] })).pid)`
    expect(await runScript(script, [socket]).ended).toEqual({ code: 0, stdout: `${coordinator.pid}\n`, stderr: '' })
  })
})
