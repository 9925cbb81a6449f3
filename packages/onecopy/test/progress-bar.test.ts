import { describe, expect, test, vi } from 'vitest'
import { ProgressBar } from '../src/terminal/progress-bar.ts'

function fakeStream(isTTY: boolean, columns = 80) {
  const written: string[] = []
  const stream = { isTTY, columns, write: (text: string) => written.push(text) > 0 }
  return { stream: stream as unknown as NodeJS.WriteStream, written }
}

describe('ProgressBar', () => {
  test.each([80, 40, 20, 0])('never fills a terminal of %d columns', (columns) => {
    const { stream, written } = fakeStream(true, columns)
    new ProgressBar('comparing with the files', 2 ** 40, stream).update(2 ** 39)
    const line = written.join('').replace('\r\u001b[K', '')
    expect(line).toContain('comparing')
    expect([...line].length).toBeLessThan(columns || 80)
  })

  test('end() removes the bar from a terminal', () => {
    const { stream, written } = fakeStream(true)
    const bar = new ProgressBar('reading', 100, stream)
    bar.update(50)
    bar.end()
    expect(written.at(-1)).toBe('\r\u001b[K')
  })

  test('elsewhere a short step is silent, and a long one gets a plain line now and then', () => {
    vi.useFakeTimers({ toFake: ['performance'] })
    try {
      const { stream, written } = fakeStream(false)
      const bar = new ProgressBar('reading', 2 ** 30, stream)
      bar.update(2 ** 28)
      bar.end()
      expect(written).toEqual([])
      vi.advanceTimersByTime(10_001)
      bar.update(2 ** 29)
      expect(written).toEqual(['reading: 50 %, 512.0 MiB of 1.00 GiB\n'])
    } finally {
      vi.useRealTimers()
    }
  })
})
