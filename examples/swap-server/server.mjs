// A service that answers from shared weights in a pool of threads, and moves to new versions while it serves.
import { once } from 'node:events'
import { createServer } from 'node:http'
import { attach, createWorkerPool, openCheckpoint } from 'onecopy'

const [path] = process.argv.slice(2)
let checkpoint = path === undefined ? await attach({ waitMs: 30_000 }) : await openCheckpoint(path)

const filename = new URL('./task.mjs', import.meta.url)
const pool = await createWorkerPool({ checkpoint, filename, minThreads: 2, maxThreads: 2 })
/** Of every checkpoint that tasks still run on. */
const versions = new Map([[checkpoint.fingerprint, checkpoint.version]])

/**
 * Asks after it has begun to listen: a version that comes in between is not missed. While the coordinator is away there is
 * nothing to follow; the next one announces what is new.
 */
async function followVersions() {
  for (;;) {
    const news = once(checkpoint, 'version')
    const latest = await checkpoint.followLatest().catch(() => checkpoint)
    if (latest === checkpoint) await news
    else await swap(latest)
  }
}

/** New tasks run on the new version; those that were given before end on the old one, which then is closed. */
async function swap(latest) {
  const old = checkpoint
  checkpoint = latest
  versions.set(latest.fingerprint, latest.version)
  const { swapped } = await pool.swap(latest)
  void swapped.then(() => {
    versions.delete(old.fingerprint)
    old.close()
  })
}

const routes = {
  '/answer': async () => {
    const { fingerprint, ...answer } = await pool.run()
    return { version: versions.get(fingerprint), ...answer }
  },
  '/health': async () => ({ status: 'ok', version: checkpoint.version, tensors: checkpoint.tensorCount }),
}

const server = createServer(async (request, response) => {
  const route = request.method === 'GET' ? routes[request.url] : undefined
  const { status, body } =
    route === undefined
      ? { status: 404, body: { error: `There is GET ${Object.keys(routes).join(' and GET ')}` } }
      : await route().then(
          (answer) => ({ status: 200, body: answer }),
          (error) => ({ status: 500, body: { error: error.message } }),
        )
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
})

process.once('SIGTERM', async () => {
  server.close()
  server.closeIdleConnections()
  await once(server, 'close')
  await pool.close()
  checkpoint.close()
  process.exit()
})

void followVersions()
server.listen(Number(process.env.PORT ?? 8080), '127.0.0.1', () => {
  console.log(`Serving ${checkpoint.label} on http://127.0.0.1:${server.address().port}`)
})
