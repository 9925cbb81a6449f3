// @ts-check
// Worker threads that read all files each, as a Node program without sharing does, and then read a byte of each page.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'

const PAGE_BYTES = 4096

/** @param {Uint8Array} bytes */
function touch(bytes) {
  let sum = 0
  for (let at = 0; at < bytes.length; at += PAGE_BYTES) sum += bytes[at] ?? 0
  return sum
}

const now = () => process.hrtime.bigint()

/** @param {string} folder */
function readAll(folder) {
  const names = readdirSync(folder).filter((name) => name.endsWith('.safetensors'))
  let firstNs = 0n
  let checksum = 0
  const files = []
  for (const name of names.sort()) {
    const file = readFileSync(join(folder, name))
    files.push(file)
    if (firstNs === 0n) firstNs = now()
  }
  const residentNs = now()
  for (const file of files) checksum += touch(file)
  const byteLength = files.reduce((sum, file) => sum + file.byteLength, 0)
  return { firstNs, residentNs, forwardNs: now(), byteLength, checksum }
}

if (isMainThread) {
  const { folder, threads } = JSON.parse(process.argv[2] ?? '{}')
  const beganNs = now()
  /** @type {ReturnType<typeof readAll>[]} */
  const read = await Promise.all(
    Array.from({ length: threads }, () => {
      const worker = new Worker(new URL(import.meta.url), { workerData: folder })
      return new Promise((resolve, reject) => {
        worker.once('message', resolve)
        worker.once('error', reject)
      })
    }),
  )
  if (new Set(read.map(({ checksum }) => checksum)).size !== 1) throw new Error('Threads read different bytes')
  /** @param {'firstNs' | 'residentNs' | 'forwardNs'} name the last of all threads */
  const last = (name) =>
    `${read
      .map((each) => each[name])
      .sort((a, b) => (a < b ? -1 : 1))
      .at(-1)}`
  const [firstNs, residentNs, forwardNs] = [last('firstNs'), last('residentNs'), last('forwardNs')]
  const byteLength = read[0]?.byteLength
  console.log(JSON.stringify({ beganNs: `${beganNs}`, firstNs, residentNs, forwardNs, byteLength }))
} else {
  parentPort?.postMessage(readAll(workerData))
}
