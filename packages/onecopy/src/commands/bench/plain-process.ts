import type { ColdStartTrial, PlainTask } from './cold-start-trial.ts'
import { readPieces, readWhole, TensorSearch } from './plain-read.ts'
import { answer, begunNs, readTask } from './program.ts'
import { touchPages } from './touch-pages.ts'

// A program that has only Node.js: it reads every shard into memory of its own, then touches what it has.
await answer(async (): Promise<ColdStartTrial> => {
  const { way, shards, firstTensor } = readTask<PlainTask>()
  const begun = performance.now()
  const read = way === 'readFile' ? readWhole : readPieces
  const memory: (readonly Uint8Array[])[] = []
  let firstTouched = 0
  let touchMs = 0
  for (const shard of shards) {
    const search = new TensorSearch(firstTensor)
    const pieces = await read(shard, (sofar) => {
      const found = firstTouched === 0 ? search.find(sofar) : null
      if (found === null) return
      const before = performance.now()
      for (const piece of found) touchPages(piece)
      firstTouched = performance.now()
      touchMs += firstTouched - before
    })
    memory.push(pieces)
  }
  const resident = performance.now()
  for (const pieces of memory) for (const piece of pieces) touchPages(piece)
  const touched = performance.now()
  return {
    begunNs: String(begunNs),
    loadMs: null,
    openMs: null,
    ioMs: resident - begun - touchMs,
    faultsMs: touched - resident + touchMs,
    firstTensorMs: firstTouched - begun,
    touchedMs: touched - begun,
    residentMs: resident - begun,
    majorFaults: process.resourceUsage().majorPageFault,
    residentBytes: null,
  }
})
