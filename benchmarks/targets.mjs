// @ts-check
// What is promised, and who answers it. A row's figures stand in one result file: all targets that this benchmark held its
// figures against. A row that is missed is explained in notes/<id>.md: why, and what was tried.

/**
 * @typedef {object} MeasuredRow
 * @property {string} id
 * @property {string} what
 * @property {string} promise
 * @property {string} benchmark whose result file answers
 * @property {string} figures what the ids of our own figures begin with
 * @property {number} parts how many comparisons the promise has where everything can be measured
 */

/**
 * @typedef {object} ShownRow what no figure can show
 * @property {string} id
 * @property {string} what
 * @property {string} promise
 * @property {string} test a file of this repository
 * @property {string} name a text of it: what the test says that it shows
 */

/** @typedef {MeasuredRow | ShownRow} Row */

/** @type {readonly Row[]} */
export const ROWS = [
  {
    id: 'open-291',
    what: 'Open, validate and map 13.5 GB in 291 tensors, warm',
    promise: '≤ 3 ms; ≥ 3× faster than Python safetensors opening the same files',
    benchmark: 'open',
    figures: '291.firstMs.onecopy',
    parts: 2,
  },
  {
    id: 'open-90427',
    what: 'Open, validate and map 90,427 tensors in 158 shards',
    promise: '≤ 0.6× the time of Python safetensors, index included',
    benchmark: 'open',
    figures: '90427.firstMs.onecopy',
    parts: 1,
  },
  {
    id: 'attach-thread',
    what: 'A further thread gets all weights (90,427 tensors)',
    promise: '≤ 5 ms beyond its own start',
    benchmark: 'attach',
    figures: 'thread.90427.',
    parts: 1,
  },
  {
    id: 'attach-process',
    what: 'A further process attaches (90,427 tensors)',
    promise: '≤ 25 ms beyond a bare Node.js',
    benchmark: 'attach',
    figures: 'process.90427.',
    parts: 1,
  },
  {
    id: 'sharing',
    what: 'Σ Pss of 8 readers that touched everything ÷ bytes of the checkpoint',
    promise: '≤ 1.02, and 40 MB for each process',
    benchmark: 'sharing',
    figures: 'processes.8',
    parts: 1,
  },
  {
    id: 'cold-start',
    what: 'Cold start until fully resident',
    promise: '≥ 0.95× the best plain C program that only reads the files; ≥ 1.3× faster than Python safetensors',
    benchmark: 'cold-start',
    figures: 'cold.populate.',
    parts: 4,
  },
  {
    id: 'read',
    what: 'Reading through a view, warm',
    promise: '≥ 0.97× an ordinary Float32Array',
    benchmark: 'read',
    figures: '',
    parts: 1,
  },
  {
    id: 'convert',
    what: 'BF16 and F16 to F32, a large tensor, one core',
    promise: "≥ 0.8× of memcpy's output rate; ≥ 1× torch's .float()",
    benchmark: 'convert',
    figures: '',
    parts: 4,
  },
  { id: 'pool', what: 'Dispatch of a pool', promise: '≤ 1.05× bare piscina', benchmark: 'pool', figures: '', parts: 2 },
  {
    id: 'survival',
    what: 'kill -9 of any client or of the coordinator under load',
    promise: '0 failed reads in the others, 0 leaked bytes',
    test: 'test/survival.test.ts',
    name: 'kill -9 of clients and of the coordinator',
  },
  {
    id: 'swap',
    what: 'Publish a new version under load',
    promise: '0 failed requests',
    benchmark: 'swap',
    figures: '',
    parts: 1,
  },
]
