import { escapeHtml } from './escape-html.ts'
import { type Chart, chartsOf } from './report-charts.ts'
import { reportFacts } from './report-lines.ts'
import { type ReportTable, reportTables } from './report-tables.ts'
import type { BenchResult } from './result.ts'

const STYLE = `
:root { color-scheme: light dark; --ink: #1b1f24; --page: #fff; --soft: #667; --line: #d8dce2;
  --a: #8a94a6; --b: #b79bd6; --c: #4f86c6; --d: #2f9e8f; --e: #e0913d }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ec; --page: #15181d; --soft: #98a0ad; --line: #343a44 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 64rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2.2rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem } dt { color: var(--soft) }
dd { margin: 0; overflow-wrap: anywhere }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); text-align: left }
th { color: var(--soft); font-weight: normal } .right { text-align: right }
ul { color: var(--soft); padding-left: 1.1rem; font-size: .9rem }
.chart { display: grid; grid-template-columns: max-content 1fr max-content; gap: .3rem .8rem; align-items: center;
  margin: 1rem 0 }
.bar { display: flex; height: 1.1rem } .bar span { display: block; height: 100% }
.key { font-size: .9rem; color: var(--soft) } .key span { display: inline-block; width: .8rem; height: .8rem;
  margin: 0 .3rem 0 .8rem; vertical-align: -.1rem }
.a { background: var(--a) } .b { background: var(--b) } .c { background: var(--c) } .d { background: var(--d) }
.e { background: var(--e) }
`

/** The report as a page that needs nothing else: no script, no other file. */
export function reportHtml(result: BenchResult): string {
  const facts = reportFacts(result).map(([label, text]) => `<dt>${escapeHtml(label)}</dt><dd>${escapeHtml(text)}</dd>`)
  const charts = chartsOf(result)
  const tables = reportTables(result).map((table) => {
    const chart = charts.get(table.title)
    return `<h2>${escapeHtml(table.title)}</h2>\n${chart === undefined ? '' : chartHtml(chart)}${tableHtml(table)}`
  })
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>onecopy bench: ${escapeHtml(result.label)}</title>
<style>${STYLE}</style>
</head>
<body>
<h1>onecopy bench</h1>
<dl>${facts.join('\n')}</dl>
${tables.join('\n')}
</body>
</html>
`
}

function tableHtml({ columns, rows, notes }: ReportTable): string {
  const sides = columns.map(({ align }) => (align === 'right' ? ' class="right"' : ''))
  const titles = columns.map(({ title }, at) => `<th${sides[at]}>${escapeHtml(title)}</th>`)
  const lines = rows.map(
    (cells) => `<tr>${cells.map((cell, at) => `<td${sides[at]}>${escapeHtml(cell)}</td>`).join('')}</tr>`,
  )
  const list = notes.map((note) => `<li>${escapeHtml(note)}</li>`)
  const head = `<thead><tr>${titles.join('')}</tr></thead>`
  const table = `<div class="wide"><table>${head}<tbody>\n${lines.join('\n')}\n</tbody></table></div>`
  return list.length === 0 ? table : `${table}\n<ul>${list.join('\n')}</ul>`
}

/** Bars of CSS boxes; the longest fills the line. */
function chartHtml({ key, bars }: Chart): string {
  const longest = Math.max(...bars.map(({ parts }) => parts.reduce((sum, { value }) => sum + value, 0)))
  const lines = bars.map(({ label, parts, text }) => {
    const boxes = parts.map(
      ({ color, value }) => `<span class="${color}" style="width:${((100 * value) / longest).toFixed(2)}%"></span>`,
    )
    return `<div>${escapeHtml(label)}</div><div class="bar">${boxes.join('')}</div><div>${escapeHtml(text)}</div>`
  })
  const names = key.map(({ color, name }) => `<span class="${color}"></span>${escapeHtml(name)}`)
  return `<div class="chart">\n${lines.join('\n')}\n</div>\n<p class="key">${names.join('')}</p>\n`
}
