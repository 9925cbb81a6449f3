import type { ColdStartTask, ColdStartTrial } from './cold-start-trial.ts'
import { answer, begunNs, readTask } from './program.ts'

await answer(async (): Promise<ColdStartTrial> => {
  const task = readTask<ColdStartTask>()
  const begun = performance.now()
  const { openCheckpoint } = await import('../../index.ts')
  const { touchTensor, touchTensors } = await import('./touch-pages.ts')
  const loaded = performance.now()
  const { way, firstTensor, firstOnly } = task
  const select = task.selection === null ? {} : { selection: task.selection }
  const openOnly = way === 'lazy' || way === 'prefetch'
  const checkpoint = await openCheckpoint(task.source, {
    ...select,
    ...(way === 'sealed' ? { backing: 'sealed' } : { backing: 'file' }),
    ...((way === 'populate' || way === 'lock') && { residency: way }),
  })
  const opened = performance.now()
  if (way === 'prefetch') await checkpoint.prefetch({ tensors: [firstTensor] })
  const firstRead = performance.now()
  touchTensor(checkpoint.tensor(firstTensor))
  const firstTouched = performance.now()
  if (way === 'prefetch' && !firstOnly) await checkpoint.prefetch()
  const read = performance.now()
  if (!firstOnly) touchTensors(checkpoint)
  const touched = performance.now()
  const { majorPageFault } = process.resourceUsage()
  const residentAt = way === 'lazy' ? touched : way === 'prefetch' ? read : opened
  const ioMs = openOnly ? firstRead - opened + (read - firstTouched) : opened - loaded
  return {
    begunNs: String(begunNs),
    loadMs: loaded - begun,
    openMs: openOnly ? opened - loaded : null,
    ioMs: way === 'lazy' ? null : ioMs,
    faultsMs: firstTouched - firstRead + (touched - read),
    firstTensorMs: firstTouched - begun,
    touchedMs: firstOnly ? null : touched - begun,
    residentMs: firstOnly ? null : residentAt - begun,
    majorFaults: majorPageFault,
    residentBytes: checkpoint.residency().residentBytes,
  }
})
