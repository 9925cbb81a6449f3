// Four threads answer questions about one checkpoint; none of them has a copy of it.
import { createWorkerPool, openCheckpoint, processMemory } from 'onecopy'

const checkpoint = await openCheckpoint(process.argv[2] ?? './model')
const filename = new URL('./task.mjs', import.meta.url)
const pool = await createWorkerPool({ checkpoint, filename, minThreads: 4, maxThreads: 4 })

const norms = await Promise.all(checkpoint.names.slice(0, 8).map((name) => pool.run(name)))
for (const { name, norm, thread } of norms) console.log(`${name}: ‖W‖ = ${norm.toFixed(4)} (thread ${thread})`)
console.log(`${checkpoint.byteLength} bytes of weights; resident in this process: ${processMemory().rssBytes}`)

await pool.destroy()
checkpoint.close()
