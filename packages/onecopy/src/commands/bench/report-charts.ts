import { figureText, valueText } from './figure-text.ts'
import { copiesBeside, readersText } from './report-tables.ts'
import type { AttachResult, BenchResult, ColdStartResult, SharingResult } from './result.ts'

/** Colours, as the page's style names them. */
export type ChartColor = 'a' | 'b' | 'c' | 'd' | 'e'

/** Horizontal bars. */
export interface Chart {
  readonly key: readonly { readonly color: ChartColor; readonly name: string }[]
  readonly bars: readonly {
    readonly label: string
    /** From the left; values of one unit in the whole chart. */
    readonly parts: readonly { readonly color: ChartColor; readonly value: number }[]
    readonly text: string
  }[]
}

/** The charts by the titles of the tables that they stand with; none where nothing was measured. */
export function chartsOf({ coldStart, attach, sharing }: BenchResult): ReadonlyMap<string, Chart> {
  const charts: [string, Chart][] = [
    ...(coldStart === null ? [] : ([['cold start', coldStartChart(coldStart)]] as [string, Chart][])),
    ...(attach === null ? [] : ([['attach', attachChart(attach)]] as [string, Chart][])),
    ...(sharing === null ? [] : ([['sharing', sharingChart(sharing)]] as [string, Chart][])),
  ]
  return new Map(charts.filter(([, { bars }]) => bars.length > 0))
}

function coldStartChart({ ways }: ColdStartResult): Chart {
  return {
    key: [
      { color: 'a', name: 'process start' },
      { color: 'b', name: 'load onecopy' },
      { color: 'c', name: 'open' },
      { color: 'd', name: 'I/O' },
      { color: 'e', name: 'faults' },
    ],
    bars: ways.flatMap(({ way, touchedMs, stages }) => {
      if (touchedMs === null) return []
      const { startMs, loadMs, openMs, ioMs, faultsMs } = stages
      const parts = [startMs, loadMs, openMs, ioMs, faultsMs].map((figure, at) => ({
        color: 'abcde'[at] as ChartColor,
        value: figure?.median ?? 0,
      }))
      return [{ label: way, parts, text: figureText(touchedMs) }]
    }),
  }
}

function attachChart({ thread, process }: AttachResult): Chart {
  const bars = [
    ['a further thread', thread],
    ['a further process', process],
  ] as const
  return {
    key: [
      { color: 'a', name: 'a bare start, p50' },
      { color: 'c', name: 'beyond it' },
    ],
    bars: bars.map(([label, { weightsMs, bareMs, beyondMs }]) => ({
      label,
      parts: [
        { color: 'a', value: Math.min(bareMs.median, weightsMs.median) },
        { color: 'c', value: Math.max(0, beyondMs.p50) },
      ],
      text: valueText('ms', weightsMs.median),
    })),
  }
}

function sharingChart({ rows }: SharingResult): Chart {
  const shared = rows.filter(({ weights }) => weights === 'shared')
  const pairs = shared.flatMap((row) => [
    { row, color: 'c' as const, label: `${readersText(row)}, one copy` },
    { row: copiesBeside(row, rows), color: 'e' as const, label: `${readersText(row)}, a copy each` },
  ])
  return {
    key: [
      { color: 'c', name: 'Σ Pss, one copy' },
      { color: 'e', name: 'Σ Pss, a copy each' },
    ],
    bars: pairs.flatMap(({ row: { pssBytes }, color, label }) =>
      pssBytes === null ? [] : [{ label, parts: [{ color, value: pssBytes.median }], text: figureText(pssBytes) }],
    ),
  }
}
