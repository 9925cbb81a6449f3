// @ts-check
import { join } from 'node:path'
import { bySize } from '../harness/benchmark.mjs'
import { compile } from '../harness/compiler.mjs'
import { findPython } from '../harness/python.mjs'
import { runNodeTrial, runTrial, trialPath } from '../harness/trial.mjs'
import { evictFile, shardPaths } from './page-cache.mjs'
import { freeDiskBytes } from './room.mjs'

/** @typedef {import('../harness/trial.mjs').Trial} Trial */

/**
 * @typedef {object} Starter somebody who brings a checkpoint into RAM
 * @property {string} id
 * @property {'ours' | 'reader' | 'mapper' | 'python' | 'pickle' | 'copier'} kind readers only read files and compute nothing
 * @property {string} subject
 * @property {string} label what it does
 * @property {number} copies how often the checkpoint lies in RAM when it has done so, page cache included
 * @property {boolean} warm measured with a warm page cache too
 * @property {() => Promise<Trial>} start
 * @property {() => Promise<void>} [evict] drops what it reads beside the checkpoint
 */

/** Workers of the Node program without sharing. */
const THREADS = 2

/** @type {Omit<Starter, 'subject' | 'kind' | 'warm' | 'start'>[]} */
const POLICIES = [
  { id: 'lazy', label: 'lazy: opened, then read in file order', copies: 1 },
  { id: 'prefetch', label: 'prefetch(): the first tensor, then all, then read', copies: 1 },
  { id: 'populate', label: "residency 'populate', then read", copies: 1 },
  { id: 'sealed', label: "backing 'sealed', then read", copies: 2 },
]

/** @type {readonly [id: string, way: string, threads: number, kib: number, label: string][]} */
const READERS = [
  ['pread-2x4', 'buffered', 2, 4096, 'pread, 2 threads, blocks of 4 MiB'],
  ['pread-4x1', 'buffered', 4, 1024, 'pread, 4 threads, blocks of 1 MiB'],
  ['direct-4x4', 'direct', 4, 4096, 'pread with O_DIRECT, 4 threads, blocks of 4 MiB'],
  ['populate-1', 'populate', 1, 2 ** 20, 'mmap and MADV_POPULATE_READ, 1 thread, 1 GiB at a time'],
  ['populate-2x32', 'populate', 2, 32 * 1024, 'mmap and MADV_POPULATE_READ, 2 threads, 32 MiB at a time'],
  ['huge-1', 'huge', 1, 2 ** 20, 'mmap, MADV_HUGEPAGE and MADV_POPULATE_READ, 1 thread, 1 GiB at a time'],
  ['huge-2x32', 'huge', 2, 32 * 1024, 'mmap, MADV_HUGEPAGE and MADV_POPULATE_READ, 2 threads, 32 MiB at a time'],
]
const FEW_READERS = ['pread-2x4', 'direct-4x4', 'populate-1', 'huge-1']

/**
 * Everybody who can be measured here; the others are reported as not measured.
 *
 * @param {string} folder of the checkpoint
 * @param {number} byteLength of it
 * @param {import('../harness/benchmark.mjs').RunOptions} options
 * @param {import('../harness/result.mjs').Collector} collector
 * @returns {Promise<Starter[]>}
 */
export async function starters(folder, byteLength, options, collector) {
  /** @type {Starter[]} */
  const found = POLICIES.map((policy) => ({
    ...policy,
    kind: /** @type {const} */ ('ours'),
    subject: 'onecopy',
    warm: true,
    start: () => runNodeTrial('cold-start.mjs', { folder, policy: policy.id }),
  }))
  found.push({
    id: 'readfile',
    kind: 'copier',
    subject: 'readFile in Node.js',
    label: `each of ${THREADS} threads reads all files`,
    copies: 1 + THREADS,
    warm: false,
    start: () => runNodeTrial('rivals/read-file-threads.mjs', { folder, threads: THREADS }),
  })
  const { path: reader, reason } = await compile('read_files', options.scratch)
  if (reader === null) collector.notMeasured('plain C programs that read the files', reason)
  else found.push(...cStarters(reader, folder, options.size))
  found.push(...(await pythonStarters(folder, byteLength, reader, options, collector)))
  return found
}

/**
 * @param {string} program
 * @param {string} folder
 * @param {import('../harness/result.mjs').Size} size
 * @returns {Starter[]}
 */
function cStarters(program, folder, size) {
  const files = shardPaths(folder)
  const ids = bySize(size, { tiny: FEW_READERS, short: FEW_READERS, full: READERS.map(([id]) => id) })
  const readers = READERS.filter(([id]) => ids.includes(id)).map(([id, way, threads, kib, label]) => ({
    id,
    subject: `C (${id})`,
    label,
    copies: 1,
    kind: /** @type {const} */ ('reader'),
    warm: false,
    start: () => runTrial(program, [way, `${threads}`, `${kib}`, ...files]),
  }))
  const mapper = {
    id: 'mmap',
    subject: 'C (mmap)',
    copies: 1,
    kind: /** @type {const} */ ('mapper'),
    label: 'mmap, a byte of each page read in file order',
    warm: true,
    start: () => runTrial(program, ['touch', '1', '0', ...files]),
  }
  return [mapper, ...readers]
}

/**
 * @param {string} folder
 * @param {number} byteLength
 * @param {string | null} reader
 * @param {import('../harness/benchmark.mjs').RunOptions} options
 * @param {import('../harness/result.mjs').Collector} collector
 * @returns {Promise<Starter[]>}
 */
async function pythonStarters(folder, byteLength, reader, options, collector) {
  /** @type {Starter[]} */
  const found = []
  /** @param {import('../harness/python.mjs').Python} python @param {'np' | 'torch'} framework */
  const loads = ({ command, packages }, framework) => {
    const module = framework === 'np' ? 'safetensors.numpy' : 'safetensors.torch'
    const argument = JSON.stringify({ folder, framework })
    found.push({
      id: `python-${framework}`,
      kind: 'python',
      subject: `Python safetensors ${packages['safetensors']}`,
      label: `load_file() of ${module} for every shard, then read`,
      copies: framework === 'np' ? 2 : 1,
      warm: true,
      start: () => runTrial(command, [trialPath('rivals/python_load.py'), argument]),
    })
  }
  const { python, reason } = await findPython(['safetensors', 'numpy'], options)
  if (python === null) collector.notMeasured('Python safetensors, load_file() with numpy', reason)
  else loads(python, 'np')
  // 700 MB are too much for a short run that nobody asked for torch in.
  const mayInstall = options.mayInstall && options.size === 'full'
  const { python: torch, reason: noTorch } = await findPython(['torch', 'numpy', 'safetensors'], {
    ...options,
    mayInstall,
  })
  if (torch === null) {
    const why = `${noTorch}; npm run bench -- --full installs it`
    collector.notMeasured('Python safetensors, load_file() with torch', why)
    collector.notMeasured('torch.load() of a pickle', why)
    return found
  }
  loads(torch, 'torch')
  const free = freeDiskBytes(options.scratch.temporary)
  const unfit =
    reader === null
      ? 'without a C compiler there is nothing to drop the pickle from RAM with'
      : free < 2 * byteLength
        ? `${free} bytes of disk are free, required are ${2 * byteLength}`
        : null
  if (reader === null || unfit !== null) collector.notMeasured('torch.load() of a pickle', unfit ?? '')
  else found.push(await pickleStarter(torch, reader, folder, options.scratch))
  return found
}

/**
 * @param {import('../harness/python.mjs').Python} torch
 * @param {string} reader
 * @param {string} folder
 * @param {import('../harness/scratch.mjs').Scratch} scratch
 * @returns {Promise<Starter>}
 */
async function pickleStarter({ command, packages }, reader, folder, scratch) {
  const pickle = join(await scratch.made('cold-start-pickle', () => {}), 'weights.pt')
  /** @param {boolean} save */
  const run = (save) =>
    runTrial(command, [trialPath('rivals/torch_pickle.py'), JSON.stringify({ folder, pickle, save })])
  await run(true)
  return {
    id: 'torch-load',
    kind: 'pickle',
    subject: `torch ${packages['torch']}`,
    label: 'torch.load() of the same weights in a pickle, then read',
    copies: 2,
    warm: false,
    start: () => run(false),
    evict: () => evictFile(reader, pickle),
  }
}
