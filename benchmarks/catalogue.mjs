// @ts-check
// Every benchmark, in the order of a run.
import { attach } from './attach.mjs'
import { coldStart } from './cold-start.mjs'
import { convert } from './convert.mjs'
import { open } from './open.mjs'
import { pool } from './pool.mjs'
import { read } from './read.mjs'
import { scale } from './scale.mjs'
import { sharing } from './sharing.mjs'
import { slices } from './slices.mjs'
import { swap } from './swap.mjs'

/** @type {readonly import('./harness/benchmark.mjs').Benchmark[]} */
export const BENCHMARKS = [open, coldStart, attach, sharing, read, convert, pool, swap, slices, scale]
