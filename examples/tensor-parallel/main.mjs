// Two workers compute one MLP together, each on its half of the matrices; what they give is added up.
//   node main.mjs [folder of a llama-like checkpoint]      without one, a tiny one is generated
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createWorkerPool, oneHost, openCheckpoint, planPlacement } from 'onecopy'
import { generate } from './generate.mjs'
import { mlp } from './mlp.mjs'

/** The first match counts. Outputs of the first two matrices are cut, and inputs of the third: so one sum is all that it takes. */
const policy = {
  mesh: { tp: 2 },
  rules: [
    { match: '**.{gate,up}_proj.weight', split: { dimension: 0, axis: 'tp' } },
    { match: '**.down_proj.weight', split: { dimension: 1, axis: 'tp' } },
    { match: '**', replicate: true },
  ],
}

const temporary = process.argv[2] === undefined ? await mkdtemp(join(tmpdir(), 'onecopy-example-')) : null
const checkpoint = await openCheckpoint(process.argv[2] ?? (await generate(temporary)))
const plan = planPlacement(checkpoint, oneHost(2), policy)
const { uniqueBytes, fileBytes, arenaBytes } = plan.host('localhost')
console.log(`plan ${plan.id.slice(0, 16)}: ${plan.workers.map(({ name }) => name).join(' and ')} on one host`)
for (const { name } of plan.workers) {
  console.log(`${name} reads ${plan.worker(name).byteLength} of ${checkpoint.byteLength} bytes`)
}
console.log(`together ${uniqueBytes} bytes: ${fileBytes} read in place, ${arenaBytes} gathered once`)

const pool = await createWorkerPool({ checkpoint, plan, filename: new URL('./task.mjs', import.meta.url) })
const [, size] = checkpoint.tensor('model.layers.0.mlp.gate_proj.weight').shape
const x = Float32Array.from({ length: size }, (_, at) => Math.sin(at))
const parts = await pool.runAll({ layer: 0, x })
const sum = parts.reduce((total, part) => total.map((value, at) => value + part[at]))
await pool.destroy()

// Another order of additions rounds otherwise, and that is all.
const whole = mlp(checkpoint, 0, x)
const largest = whole.reduce((max, value) => Math.max(max, Math.abs(value)), 0)
const difference = whole.reduce((max, value, at) => Math.max(max, Math.abs(value - sum[at])), 0)
const same = difference <= 1e-5 * largest
console.log(
  `the sum of both ${same ? 'equals' : 'DIFFERS FROM'} the unsharded result (largest difference ${difference})`,
)
if (!same) process.exitCode = 1
checkpoint.close()
if (temporary !== null) await rm(temporary, { recursive: true })
