import { parentPort, workerData } from 'node:worker_threads'
import { Checkpoint, type CheckpointShare } from '@onecopy/checkpoint'
import { readCopy } from './plain-read.ts'
import type { PlainShard } from './subject.ts'
import { touchTensors } from './touch-pages.ts'

/** What a reading thread is started with. */
export interface ReaderThreadData {
  /** Null where it reads a copy. */
  readonly share: CheckpointShare | null
  readonly tensorCount: number
  readonly shards: readonly PlainShard[]
}

const { share, tensorCount, shards } = workerData as ReaderThreadData
const checkpoint = share === null ? null : Checkpoint.adopt(share)
/** Stays in memory until it was counted. */
let copy: unknown = null

parentPort?.on('message', async () => {
  if (checkpoint === null) copy = await readCopy(shards)
  else touchTensors(checkpoint, tensorCount)
  parentPort?.postMessage(copy === null ? 'touched' : 'copied')
})
parentPort?.postMessage('ready')
