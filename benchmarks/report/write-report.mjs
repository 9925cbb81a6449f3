// @ts-check
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { BENCHMARKS } from '../catalogue.mjs'
import { ROWS } from '../targets.mjs'
import { drawPage } from './page.mjs'
import { readRecorded } from './recorded.mjs'

const RECORDED = {
  results: fileURLToPath(new URL('../results', import.meta.url)),
  notes: fileURLToPath(new URL('../notes', import.meta.url)),
}
const DOCS = fileURLToPath(new URL('../../docs', import.meta.url))

/** The page for what is recorded now: text by path below docs/. */
export function currentPage() {
  const names = BENCHMARKS.map(({ name }) => name)
  return drawPage(readRecorded(RECORDED, names), { rows: ROWS, names })
}

/**
 * Writes docs/benchmarks.md and its charts, and removes charts that nothing refers to any more.
 *
 * @param {string} [docs]
 * @returns {string} path of the page
 */
export function writeReport(docs = DOCS) {
  const files = currentPage()
  const charts = join(docs, 'benchmarks')
  mkdirSync(charts, { recursive: true })
  for (const name of readdirSync(charts)) if (!files.has(`benchmarks/${name}`)) rmSync(join(charts, name))
  for (const [path, text] of files) {
    mkdirSync(dirname(join(docs, path)), { recursive: true })
    writeFileSync(join(docs, path), text)
  }
  return join(docs, 'benchmarks.md')
}
