import { expect, test } from 'vitest'
import * as onecopy from '../src/index.ts'

test('index.ts exports what people use', () => {
  expect(Object.keys(onecopy).sort()).toEqual([
    'Checkpoint',
    'CheckpointError',
    'ClientError',
    'DTYPES',
    'SafetensorsError',
    'SharedMemoryError',
    'TensorView',
    'WorkerPool',
    'capabilities',
    'createWorkerPool',
    'openCheckpoint',
    'parseHeader',
    'parseSafetensors',
    'parseShardIndex',
    'processMemory',
    'readHeaderLength',
    'saveCheckpoint',
    'serialize',
    'serializeHeader',
  ])
})
