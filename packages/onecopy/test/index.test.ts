import { expect, test } from 'vitest'
import * as onecopy from '../src/index.ts'
import * as worker from '../src/worker.ts'

test('index.ts exports what people use', () => {
  expect(Object.keys(onecopy).sort()).toEqual([
    'Checkpoint',
    'CheckpointError',
    'ClientError',
    'Coordinator',
    'CoordinatorError',
    'DTYPES',
    'PRESETS',
    'PlacedPool',
    'PlacementError',
    'Plan',
    'ProtocolError',
    'SafetensorsError',
    'SharedMemoryError',
    'TensorView',
    'WorkerPool',
    'attach',
    'capabilities',
    'coordinatorHealth',
    'coordinatorStatus',
    'createWorkerPool',
    'defaultSocketPath',
    'fromDeviceMap',
    'fromMaxMemory',
    'fromTpPlan',
    'indexHeaders',
    'oneHost',
    'openCheckpoint',
    'parseHeader',
    'parseSafetensors',
    'parseShardIndex',
    'planPlacement',
    'presetFor',
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

test('worker.ts exports what a task needs', () => {
  expect(Object.keys(worker).sort()).toEqual(['place', 'weights'])
})
