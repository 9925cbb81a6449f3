// @ts-check
import * as echarts from 'echarts'

const WIDTH = 760
const HEIGHT = 380
/** Told apart by people who see few colours, too (Okabe and Ito). */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000']

/**
 * An SVG of a chart, the same bytes for the same data. Numbers along the x axis make lines, texts make bars.
 *
 * @param {import('./result.mjs').Chart} chart
 * @returns {string}
 */
export function drawChart({ title, x, y, series }) {
  const numeric = x.values.every((value) => typeof value === 'number')
  const canvas = echarts.init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height: HEIGHT })
  try {
    canvas.setOption({
      animation: false,
      backgroundColor: '#ffffff',
      color: COLOURS,
      title: { text: title, left: 'center', textStyle: { fontSize: 15 } },
      legend: { bottom: 0 },
      grid: { left: 12, right: 30, top: 50, bottom: 56, containLabel: true },
      xAxis: {
        type: numeric ? (x.log ? 'log' : 'value') : 'category',
        name: x.label,
        nameLocation: 'middle',
        nameGap: 26,
        ...(numeric ? {} : { data: x.values, axisLabel: { interval: 0 } }),
      },
      yAxis: { type: y.log ? 'log' : 'value', name: `${y.label} (${y.unit})`, nameTextStyle: { align: 'left' } },
      series: series.map(({ name, values }) => ({
        name,
        type: numeric ? 'line' : 'bar',
        symbolSize: 7,
        data: numeric ? values.map((value, at) => [x.values[at] ?? null, value]) : values,
      })),
    })
    return canvas.renderToSVGString()
  } finally {
    canvas.dispose()
  }
}
