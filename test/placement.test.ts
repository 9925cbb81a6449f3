import { closeSync, openSync, readdirSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { openCheckpoint, type Selection, saveCheckpoint } from '@onecopy/checkpoint'
import { attach, coordinatorStatus, createWorkerPool } from '@onecopy/client'
import { oneHost, Plan, PRESETS, planPlacement } from '@onecopy/placement'
import type { CoordinatorStatus } from '@onecopy/protocol'
import { extentsOf, indexHeaders, parseHeader, readHeaderLength, type SelectedRange } from '@onecopy/safetensors'
import { capabilities } from '@onecopy/sharedarraybuffer-utils'
import { describe, expect, it } from 'vitest'
import { HAS_ADDON } from './has-addon.ts'
import { CONFIG, type LlamaSizes, SMALL, saveLlama } from './llama.ts'
import {
  checkpointIn,
  holdersOf,
  mappedMemory,
  Program,
  startCoordinatorProcess,
  statusWhere,
  temporarySocket,
  until,
} from './processes.ts'
import { productsOf } from './programs/llama-products.mjs'
import { temporaryFolder } from './support.ts'

type Products = ReturnType<typeof productsOf>

const PAGE_BYTES = 4096

/** Where every part of a matrix is far larger than the pages at its ends. */
const LARGE: LlamaSizes = { layers: 2, hidden: 1024, inner: 2048, vocabulary: 4096 }

/** In the names of arenas' mappings. */
const ARENA = 'memfd:onecopy:arena'

async function planFor(model: string, mesh: { readonly tp?: number; readonly pp?: number }): Promise<Plan> {
  using checkpoint = await openCheckpoint(model)
  return planPlacement(checkpoint, oneHost((mesh.tp ?? 1) * (mesh.pp ?? 1)), PRESETS.llama(mesh, checkpoint.config))
}

/** What tensor-parallel workers have computed, put together. */
function together(parts: readonly Products[]): Products {
  const added = (of: (part: Products) => readonly number[]): number[] => {
    return parts.map(of).reduce<number[]>((sum, part) => part.map((value, at) => value + (sum[at] ?? 0)), [])
  }
  return {
    outputs: parts[0]!.outputs.map((_, layer) => ({
      attention: added(({ outputs }) => outputs[layer]!.attention),
      mlp: added(({ outputs }) => outputs[layer]!.mlp),
    })),
    logits: parts.flatMap(({ logits }) => logits),
  }
}

function vector(length: number): number[] {
  return Array.from({ length }, (_, at) => (at % 5) - 2)
}

function startWorkers(plan: Plan, socket: string): Promise<Program[]> {
  const options = (selection: Selection) => JSON.stringify({ socket, checkpoint: 'llama', selection })
  return Promise.all(plan.workers.map(({ name }) => Program.start('placed-worker.mjs', options(plan.selection(name)))))
}

function versionOf(status: CoordinatorStatus) {
  return checkpointIn(status, 'llama')!.versions[0]!
}

describe.skipIf(!HAS_ADDON).each(['file', 'sealed'] as const)('workers of a TP 4 plan, on %s backing', (backing) => {
  it('in processes of their own compute what adds up to the products over the whole model', async () => {
    const model = await saveLlama(temporaryFolder(), SMALL)
    const plan = await planFor(model, { tp: 4 })
    const socket = temporarySocket()
    const coordinator = await startCoordinatorProcess(socket)
    await coordinator.ask('publish', { name: 'llama', source: model, backing })
    const workers = await startWorkers(plan, socket)
    const x = vector(SMALL.hidden)
    const parts = await Promise.all(workers.map((worker) => worker.ask<Products>('products', x)))
    using whole = await openCheckpoint(model)
    const expected = productsOf(whole, x)
    expect(together(parts)).toEqual(expected)
    // No worker has done the whole work.
    expect(parts.map(({ logits }) => logits.length)).toEqual(Array(4).fill(SMALL.vocabulary / 4))
    for (const part of parts) expect(part.outputs).not.toEqual(expected.outputs)

    using attached = await attach({ socket, checkpoint: 'llama' })
    await using pool = await createWorkerPool<number[], Products>({
      checkpoint: attached,
      plan,
      filename: new URL('./programs/placed-task.mjs', import.meta.url),
    })
    expect(together(await pool.runAll(x))).toEqual(expected)
  })

  it('occupy what the plan says: each byte that is read in place once, and one copy of what is gathered', async () => {
    const model = await saveLlama(temporaryFolder(), LARGE, { maxShardBytes: 32 * 2 ** 20 })
    const fileBytes = readdirSync(model)
      .filter((name) => name.endsWith('.safetensors'))
      .reduce((sum, name) => sum + statSync(join(model, name)).size, 0)
    const plan = await planFor(model, { tp: 4 })
    const host = plan.host('localhost')
    expect(host.uniqueBytes).toBe(plan.totals.byteLength)
    expect(host.fileBytes + host.arenaBytes).toBe(host.uniqueBytes)
    expect(host.arenaBytes).toBeGreaterThan(0.1 * host.uniqueBytes)

    const socket = temporarySocket()
    const coordinator = await startCoordinatorProcess(socket)
    await coordinator.ask('publish', { name: 'llama', source: model, backing })
    const shardBytes = backing === 'sealed' ? fileBytes : 0
    expect((await coordinatorStatus({ socket })).heldBytes).toBe(shardBytes)
    const workers = await startWorkers(plan, socket)
    await Promise.all(workers.map((worker) => worker.ask('checksums')))

    // Of the plan, and of the coordinator: the arenas are what is gathered, and a header each.
    const status = await statusWhere(socket, 'four leases are held', (found) => versionOf(found).leases === 4)
    const { arenaBytes } = versionOf(status)
    expect(arenaBytes).toBeGreaterThan(host.arenaBytes)
    expect(arenaBytes).toBeLessThan(host.arenaBytes + workers.length * PAGE_BYTES)
    expect(status.heldBytes).toBe(shardBytes + arenaBytes)

    // Of the kernel: pages of all processes together, each counted once. Every byte was read; what comes on top are the ends of
    // pages, and pages that the kernel maps around one that is touched.
    const programs = [coordinator, ...workers]
    const mapped = (text: string): number =>
      programs.reduce((sum, { pid }) => sum + mappedMemory(pid, text).pssBytes, 0)
    const inArenas = mapped(ARENA)
    const inPlace = mapped(model) - inArenas // arenas are named after their checkpoint
    expect(inArenas / host.arenaBytes).toBeGreaterThan(0.999)
    expect(inArenas / host.arenaBytes).toBeLessThan(1.01)
    expect(inPlace / host.fileBytes).toBeGreaterThan(0.999)
    expect(inPlace / host.fileBytes).toBeLessThan(1.05)

    // A replica of each worker costs nothing.
    const replicas = await startWorkers(plan, socket)
    const read = await Promise.all([...workers, ...replicas].map((worker) => worker.ask('checksums')))
    expect(read.slice(4)).toEqual(read.slice(0, 4))
    const both = await statusWhere(socket, 'eight leases are held', (found) => versionOf(found).leases === 8)
    expect(both.heldBytes).toBe(status.heldBytes)
    programs.push(...replicas)
    expect(mapped(ARENA) / inArenas).toBeLessThan(1.01)

    for (const worker of [...workers, ...replicas]) await worker.ask('close')
    const idle = await statusWhere(socket, 'all leases are given back', (found) => versionOf(found).leases === 0)
    expect([versionOf(idle).arenaBytes, idle.heldBytes]).toEqual([0, shardBytes])
    await until(async () => {
      await Promise.all(programs.map((program) => program.ask('collect')))
      return programs.every(({ pid }) => mappedMemory(pid, ARENA).rssBytes === 0)
    }, 'nobody has an arena mapped or open')
    await Promise.all([...workers, ...replicas].map((worker) => worker.kill()))
    await coordinator.ask('close')
    await coordinator.kill()
    await until(() => holdersOf(model).length === 0, 'nobody has anything of the checkpoint')
  })
})

describe('parts of a PP 2 × TP 2 plan', () => {
  const backings = HAS_ADDON ? (['file', 'sealed', 'heap'] as const) : (['heap'] as const)

  it.each(backings)('put together again are every tensor, byte for byte, on %s backing', async (backing) => {
    const model = await saveLlama(temporaryFolder(), SMALL)
    const plan = await planFor(model, { pp: 2, tp: 2 })
    using whole = await openCheckpoint(model)
    const rebuilt = new Map(whole.names.map((name) => [name, new Map<number, number>()]))
    const holders = new Map(whole.names.map((name) => [name, 0]))
    for (const { name: worker } of plan.workers) {
      using part = await openCheckpoint(model, { backing, selection: plan.selection(worker) })
      const { tensors, byteLength } = plan.worker(worker)
      expect(part.byteLength).toBe(byteLength)
      expect(new Set(part.names)).toEqual(new Set(tensors.map(({ name }) => name)))
      for (const { name, ranges, shape, dtype } of tensors) {
        const view = part.tensor(name)
        expect(view).toMatchObject({ dtype, shape })
        const elements = rebuilt.get(name)!
        for (const [at, place] of placesOf(whole.tensor(name).shape, ranges).entries()) {
          const value = Number(view.data[at])
          expect(elements.get(place) ?? value).toBe(value) // replicas have the same
          elements.set(place, value)
        }
        holders.set(name, holders.get(name)! + 1)
      }
    }
    for (const { name, data } of whole.tensors()) {
      const elements = rebuilt.get(name)!
      expect(elements.size).toBe(data.length)
      const bytes = new Uint8Array(Float32Array.from({ length: data.length }, (_, at) => elements.get(at)!).buffer)
      expect(bytes).toEqual(new Uint8Array(whole.tensor(name).buffer))
    }
    // Each layer is with the two workers of its stage, and with nobody else.
    expect([...holders.values()].every((count) => count === 2)).toBe(true)
  })
})

describe('a plan for another checkpoint', () => {
  it('is refused when opening, selecting and starting a pool', async () => {
    const model = await saveLlama(temporaryFolder(), SMALL)
    const other = await saveLlama(temporaryFolder(), { ...SMALL, layers: 1 })
    const plan = await planFor(other, { tp: 2 })
    const selection = plan.selection('w0')
    const refused = { name: 'CheckpointError', code: 'SELECTION_OTHER_CHECKPOINT' }
    for (const backing of capabilities().backings) {
      await expect(openCheckpoint(model, { backing, selection })).rejects.toMatchObject(refused)
      using checkpoint = await openCheckpoint(model, { backing })
      await expect(checkpoint.select(selection)).rejects.toMatchObject(refused)
      await expect(createWorkerPool(poolOf(checkpoint, plan))).rejects.toMatchObject(refused)
      expect(checkpoint.arenaBytes).toBe(0)
    }
    using checkpoint = await openCheckpoint(model)
    expect(() => plan.validate(checkpoint.index)).toThrow(expect.objectContaining({ code: 'PLAN_OTHER_CHECKPOINT' }))
  })

  it.skipIf(!HAS_ADDON)('is refused when attaching, by the coordinator', async () => {
    const model = await saveLlama(temporaryFolder(), SMALL)
    const plan = await planFor(await saveLlama(temporaryFolder(), { ...SMALL, layers: 1 }), { tp: 2 })
    const socket = temporarySocket()
    const coordinator = await startCoordinatorProcess(socket)
    await coordinator.ask('publish', { name: 'llama', source: model, backing: 'sealed' })
    const { heldBytes } = await coordinatorStatus({ socket })
    const attaching = attach({ socket, checkpoint: 'llama', selection: plan.selection('w1') })
    const causeCode = 'SELECTION_OTHER_CHECKPOINT'
    await expect(attaching).rejects.toMatchObject({ code: 'SELECTION_REFUSED', causeCode, cause: { code: causeCode } })
    using attached = await attach({ socket, checkpoint: 'llama' })
    await expect(attached.select(plan.selection('w1'))).rejects.toMatchObject({ code: causeCode })
    await expect(createWorkerPool(poolOf(attached, plan))).rejects.toMatchObject({ code: causeCode })
    const status = await statusWhere(socket, 'one lease is left', (found) => versionOf(found).leases === 1)
    expect(status.heldBytes).toBe(heldBytes)
  })

  it('fits any checkpoint with the same headers, whatever the values', async () => {
    const plan = await planFor(await saveLlama(temporaryFolder(), SMALL), { tp: 2 })
    const other = await saveLlama(temporaryFolder(), SMALL, { seed: 2 })
    using part = await openCheckpoint(other, { selection: plan.selection('w1') })
    expect(part.byteLength).toBe(plan.worker('w1').byteLength)
  })

  it('is told from one that differs in nothing but a tensor’s place', async () => {
    const tensor = (name: string) => ({ name, dtype: 'U8', shape: [4], data: new Uint8Array(4) }) as const
    const [one, two] = [temporaryFolder(), temporaryFolder()]
    await saveCheckpoint(one, ['a', 'b'].map(tensor))
    await saveCheckpoint(two, [tensor('a'), { ...tensor('b'), dtype: 'I8', data: new Int8Array(4) }])
    using checkpoint = await openCheckpoint(one)
    const policy = { mesh: { tp: 2 }, rules: [{ match: '*', split: { dimension: 0, axis: 'tp' } }] } as const
    const selection = planPlacement(checkpoint, oneHost(2), policy).selection('w0')
    await expect(openCheckpoint(two, { selection })).rejects.toMatchObject({ code: 'SELECTION_OTHER_CHECKPOINT' })
  })
})

describe('a plan made from headers alone', () => {
  it('is the plan of the checkpoint, and works on it, also after it was written down', async () => {
    const model = await saveLlama(temporaryFolder(), SMALL)
    const names = readdirSync(model).filter((name) => name.endsWith('.safetensors'))
    expect(names.length).toBeGreaterThan(1)
    // Read elsewhere, in any order, from the first bytes of each file.
    const index = indexHeaders(names.toReversed().map((name) => headerOf(join(model, name), name)))
    const plan = Plan.parse(planPlacement(index, oneHost(2), PRESETS.llama({ tp: 2 }, CONFIG)).toString())
    expect(plan.id).toBe((await planFor(model, { tp: 2 })).id)
    using checkpoint = await openCheckpoint(model)
    expect(plan.layout).toBe(checkpoint.layout)
    plan.validate(checkpoint.index)
    const parts = await checkpoint.selectAll(plan.workers.map(({ name }) => plan.selection(name)))
    const x = vector(SMALL.hidden)
    expect(together(parts.map((part) => productsOf(part, x)))).toEqual(productsOf(checkpoint, x))
    for (const part of parts) part.close()
    await using pool = await createWorkerPool<number[], Products>(poolOf(checkpoint, plan))
    expect(together(await pool.runAll(x))).toEqual(productsOf(checkpoint, x))
  })
})

function poolOf(checkpoint: Awaited<ReturnType<typeof openCheckpoint>>, plan: Plan) {
  return { checkpoint, plan, filename: new URL('./programs/placed-task.mjs', import.meta.url) }
}

/** Positions of a part's elements in the whole tensor, row by row. */
function placesOf(shape: readonly number[], ranges: readonly SelectedRange[]): number[] {
  let places = [0]
  for (const [dimension, size] of shape.entries()) {
    const extents = extentsOf(ranges[dimension] ?? [0, size])
    const taken = extents.flatMap(([start, stop]) => Array.from({ length: stop - start }, (_, at) => start + at))
    places = places.flatMap((place) => taken.map((index) => place * size + index))
  }
  return places
}

/** What a program without onecopy's readers would know of a shard. */
function headerOf(path: string, name: string) {
  const byteLength = statSync(path).size
  const descriptor = openSync(path, 'r')
  const read = (length: number, position: number): Uint8Array => {
    const bytes = new Uint8Array(length)
    readSync(descriptor, bytes, 0, length, position)
    return bytes
  }
  const length = readHeaderLength(read(8, 0), byteLength)
  const header = parseHeader(read(length, 8), byteLength - 8 - length)
  closeSync(descriptor)
  return { name, byteLength, dataOffset: 8 + length, header }
}
