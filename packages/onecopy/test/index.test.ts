import { expect, test } from 'vitest'
import * as onecopy from '../src/index.ts'

test('index.ts exports what people use', () => {
  expect(Object.keys(onecopy).sort()).toEqual([
    'Checkpoint',
    'CheckpointError',
    'ClientError',
    'Coordinator',
    'CoordinatorError',
    'DTYPES',
    'ProtocolError',
    'SafetensorsError',
    'SharedMemoryError',
    'TensorView',
    'WorkerPool',
    'attach',
    'capabilities',
    'coordinatorStatus',
    'createWorkerPool',
    'defaultSocketPath',
    'openCheckpoint',
    'parseHeader',
    'parseSafetensors',
    'parseShardIndex',
    'processMemory',
    'publishTo',
    'readHeaderLength',
    'retireFrom',
    'saveCheckpoint',
    'serialize',
    'serializeHeader',
    'startCoordinator',
  ])
})
