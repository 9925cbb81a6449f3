import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { Agent, get } from 'node:http'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { publishTo } from '@onecopy/client'
import { saveCheckpoint } from 'onecopy'
import { expect, it, onTestFinished } from 'vitest'
import { HAS_ADDON } from './has-addon.ts'
import { mappedPaths, startCoordinatorProcess, statusWhere, temporarySocket, until } from './processes.ts'
import { temporaryFolder } from './support.ts'

const SWAPS = 50
const REQUESTERS = 8
/** Every so many publishes the next one follows at once, while the service is still moving; the others come under load. */
const HURRY_EVERY = 5

/** What GET /answer gives; see examples/swap-server. */
interface Answer {
  readonly version: number
  readonly first: readonly number[]
  readonly means: readonly number[]
  readonly last: readonly number[]
}

it('examples/swap-server fails no request and mixes no versions while 50 versions are published', {
  skip: !HAS_ADDON,
}, async () => {
  const root = temporaryFolder()
  const socket = temporarySocket()
  const coordinator = await startCoordinatorProcess(socket)
  const publish = async (value: number): Promise<void> => {
    const source = await saveFilled(`${root}/v${value}`, value)
    // Both backings take turns; the numbers say which values an answer must consist of.
    const backing = value % 2 === 0 ? 'sealed' : 'file'
    expect(await publishTo('weights', source, { socket, backing })).toBe(value)
  }
  await publish(1)
  const service = await startService(socket)

  const versionsSeen = new Set<number>()
  let requests = 0
  let stopped = false
  const agent = new Agent({ keepAlive: true, maxSockets: REQUESTERS })
  onTestFinished(() => agent.destroy())
  const requester = async (): Promise<void> => {
    while (!stopped) {
      const { version, first, means, last } = await request<Answer>(`${service.url}/answer`, agent)
      expect([...first, ...means, ...last]).toEqual(Array.from({ length: 12 }, () => version))
      versionsSeen.add(version)
      requests++
    }
  }
  const load = Promise.all(Array.from({ length: REQUESTERS }, requester))
  const work = async (): Promise<void> => {
    for (let value = 2; value <= SWAPS + 1; value++) {
      await publish(value)
      const before = requests
      if (value % HURRY_EVERY !== 0) await until(() => requests >= before + REQUESTERS, 'everybody has an answer')
    }
    await until(() => versionsSeen.has(SWAPS + 1), 'answers come from the last version')
  }
  try {
    await Promise.race([load, work()])
  } finally {
    stopped = true
  }
  await load
  expect(versionsSeen.size).toBeGreaterThan(SWAPS / 2)

  // The old versions are gone: with the coordinator, and from the service's memory.
  const { checkpoints } = await statusWhere(socket, 'one version is left', ({ checkpoints: [weights] }) => {
    return weights?.versions.length === 1
  })
  expect(checkpoints[0]?.versions).toMatchObject([{ version: SWAPS + 1, state: 'ready', leases: 1 }])
  await until(() => {
    service.process.kill('SIGUSR2')
    const paths = mappedPaths(service.process.pid!, root)
    return paths.length === 3 && paths.every((path) => path.includes(`${root}/v${SWAPS + 1}/`))
  }, 'the service has nothing mapped but the newest version')
  expect(await request(`${service.url}/health`, agent)).toEqual({ status: 'ok', version: SWAPS + 1, tensors: 4 })

  service.process.kill('SIGTERM')
  expect(await once(service.process, 'exit')).toEqual([0, null])
  await statusWhere(socket, 'the last lease is given back', (status) => {
    return status.checkpoints[0]?.versions[0]?.leases === 0
  })
  await coordinator.ask('close')
})

/** A checkpoint of four tensors in two shards; every element has the given value. */
async function saveFilled(folder: string, value: number): Promise<string> {
  const data = new Float32Array(4096).fill(value)
  const tensors = [0, 1, 2, 3].map((at) => ({
    name: `layers.${at}.weight`,
    dtype: 'F32' as const,
    shape: [4096],
    data,
  }))
  await saveCheckpoint(folder, tensors, { maxShardBytes: 2 * data.byteLength })
  return folder
}

async function startService(socket: string): Promise<{ readonly process: ChildProcess; readonly url: string }> {
  const program = fileURLToPath(new URL('../examples/swap-server/server.mjs', import.meta.url))
  const preload = new URL('./programs/collect-on-signal.mjs', import.meta.url).href
  const service = fork(program, {
    env: { ...process.env, ONECOPY_SOCKET: socket, ONECOPY_CHECKPOINT: 'weights', PORT: '0' },
    execArgv: ['--expose-gc', '--import', preload],
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  })
  onTestFinished(() => void service.kill('SIGKILL'))
  const [line] = (await once(createInterface(service.stdout!), 'line')) as [string]
  return { process: service, url: line.slice(line.indexOf('http://')) }
}

/** @throws Error for anything but status 200 */
function request<Body>(url: string, agent: Agent): Promise<Body> {
  return new Promise((resolve, reject) => {
    get(url, { agent }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part
      })
      response.on('error', reject).on('end', () => {
        if (response.statusCode === 200) resolve(JSON.parse(text))
        else reject(new Error(`GET ${url}: ${response.statusCode} ${text}`))
      })
    }).on('error', reject)
  })
}
