// @ts-check
import { execFileSync } from 'node:child_process'
import { readFileSync, statfsSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { ROOT } from '../../scripts/setup.mjs'

/** Magic numbers of statfs(2). */
/** @type {Readonly<Record<number, string>>} */
const FILESYSTEMS = {
  61267: 'ext4',
  1481003842: 'xfs',
  2435016766: 'btrfs',
  16914836: 'tmpfs',
  2035054128: 'overlay',
  26985: 'nfs',
  1702057286: 'fuse',
  801189825: 'zfs',
}

/**
 * @typedef {object} Environment
 * @property {string} node
 * @property {string} platform
 * @property {string} kernel
 * @property {string} cpu
 * @property {number} cores
 * @property {number} memoryBytes
 * @property {string} filesystem of the folder that the checkpoints lie in
 * @property {string | null} transparentHugePages what /sys says; null off Linux
 * @property {number} loadAverage of the minute before the benchmark; far above 0 is a busy machine
 * @property {string | null} commit null outside a git repository
 * @property {boolean | null} dirty files differ from the commit, results and the page made from them left aside
 */

/**
 * @param {string} folder where the checkpoints lie
 * @returns {Environment}
 */
export function describeEnvironment(folder) {
  const processors = cpus()
  return {
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    kernel: release(),
    cpu: processors[0]?.model ?? 'unknown',
    cores: processors.length,
    memoryBytes: totalmem(),
    filesystem: filesystemOf(folder),
    transparentHugePages: readFirstLine('/sys/kernel/mm/transparent_hugepage/enabled'),
    loadAverage: loadavg()[0] ?? 0,
    commit: git('rev-parse', 'HEAD'),
    dirty: isDirty(),
  }
}

/** @param {string} folder */
function filesystemOf(folder) {
  const { type } = statfsSync(folder)
  return FILESYSTEMS[type] ?? `0x${type.toString(16)}`
}

/** @param {string} path */
export function readFirstLine(path) {
  try {
    return readFileSync(path, 'utf8').split('\n')[0] ?? ''
  } catch {
    return null
  }
}

function isDirty() {
  const status = git(
    'status',
    '--porcelain',
    '--',
    '.',
    ':!benchmarks/results',
    ':!docs/benchmarks.md',
    ':!docs/benchmarks',
    ':!benchmarks/notes',
  )
  return status === null ? null : status !== ''
}

/** @param {string[]} args */
function git(...args) {
  try {
    return execFileSync('git', args, { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return null
  }
}
