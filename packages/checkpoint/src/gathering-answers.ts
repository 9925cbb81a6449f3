import { parentPort, workerData } from 'node:worker_threads'
import { adoptFileMapping, type FileMapping, type FileMappingShare } from '@onecopy/sharedarraybuffer-utils'
import { adoptMemory } from './adopt-memory.ts'
import { type Arena, readArena } from './arena.ts'
import { bytesOf, splitParts } from './arena-set.ts'
import { Directory } from './directory.ts'
import { gatherFromMemory } from './gather-parts.ts'
import type { GatheringAnswer, GatheringData, GatheringQuestion } from './gathering-messages.ts'
import { selectParts } from './select-parts.ts'
import { packError } from './strict-messages.ts'

// In the thread that gathering.ts starts, which asks one question at a time.
const { label, directory: table, shards } = workerData as GatheringData
const directory = new Directory(table)
const memory = shards.map(adoptMemory)

/** What is in the arenas, by their mapping's number; their memory is held by whoever asks. */
let known = new Map<number, Arena>()
/** What was made last, until it has another holder. */
let made: FileMapping | null = null
let stop = new AbortController()
let onReserved: (granted: boolean) => void = () => {}

parentPort!.on('message', (question: GatheringQuestion) => {
  switch (question.type) {
    case 'find':
      void answer(question.selection, question.arenas)
      return
    case 'reserved':
      return onReserved(question.granted)
    case 'abort':
      return stop.abort()
    case 'taken':
      return dropMade()
    case 'end':
      stop.abort()
      onReserved(false)
      dropMade()
      for (const shard of memory) shard.close()
      parentPort!.close()
  }
})

async function answer(selection: string, arenas: readonly FileMappingShare[]): Promise<void> {
  stop = new AbortController()
  try {
    say(await find(selection, arenas))
  } catch (error) {
    say({ type: 'failed', error: packError(error) })
  }
}

async function find(selection: string, shares: readonly FileMappingShare[]): Promise<GatheringAnswer> {
  const arenas = shares.map((share) => known.get(share.id) ?? readOnce(share))
  known = new Map(arenas.map((arena, at) => [shares[at]!.id, arena]))
  const { gathered } = selectParts(directory, JSON.parse(selection), label)
  const { used, missing } = splitParts(gathered, arenas)
  const places = used.map((arena) => arenas.indexOf(arena))
  if (missing.length === 0) return { type: 'found', used: places, made: null }
  await reserve(bytesOf(missing))
  const arena = await gatherFromMemory(label, memory, missing, { signal: stop.signal })
  made = arena.memory as FileMapping
  known.set(made.id, arena)
  return { type: 'found', used: places, made: made.share() }
}

function readOnce(share: FileMappingShare): Arena {
  using mapping = adoptFileMapping(share)
  const { byteLength, dataOffset, header } = readArena(mapping)
  return { memory: mapping, byteLength, dataOffset, header }
}

/** Whoever asks keeps the account of what may be taken, and knows why not. */
async function reserve(byteLength: number): Promise<void> {
  const granted = await new Promise<boolean>((resolve) => {
    onReserved = resolve
    say({ type: 'reserve', byteLength })
  })
  if (!granted) throw new RangeError(`There is no room for ${byteLength} bytes`)
  stop.signal.throwIfAborted()
}

function dropMade(): void {
  made?.close()
  made = null
}

function say(what: GatheringAnswer): void {
  parentPort!.postMessage(what)
}
