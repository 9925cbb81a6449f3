import { rmSync } from 'node:fs'
import { saveCheckpoint } from '@onecopy/checkpoint'
import { planModel } from './transformer-shapes.ts'
import { WeightValues } from './weight-values.ts'

/** What the generating process tells the one that started it. */
export type GenerateMessage =
  | { readonly type: 'progress'; readonly doneBytes: number }
  | { readonly type: 'done' }
  | { readonly type: 'failed'; readonly message: string }

/** Shards that the size is divided into; filling them to a limit mostly gives one more. */
const SHARDS = 3

const [directory = '', byteLength = ''] = process.argv.slice(2)

let ended = false
// The other side is gone: nobody will open what this writes, or remove it.
process.on('disconnect', () => {
  if (ended) return
  rmSync(directory, { recursive: true, force: true, maxRetries: 3 })
  process.exit(1)
})

function tell(message: GenerateMessage): void {
  if (process.connected) process.send?.(message)
}

try {
  const plan = planModel(Number(byteLength))
  const values = new WeightValues(plan)
  await saveCheckpoint(
    directory,
    plan.tensors.map((tensor) => ({ ...tensor, data: () => values.bytesOf(tensor) })),
    {
      maxShardBytes: Math.ceil(plan.byteLength / SHARDS),
      metadata: { format: 'pt', generator: 'onecopy demo' },
      onProgress: ({ doneBytes }) => tell({ type: 'progress', doneBytes }),
    },
  )
  tell({ type: 'done' })
} catch (error) {
  tell({ type: 'failed', message: error instanceof Error ? error.message : String(error) })
}
ended = true
if (process.connected) process.disconnect()
