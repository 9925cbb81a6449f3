import { formatBytes } from './units.ts'

/** A terminal is redrawn at most this often, and a log gets a line at most that often; in milliseconds. */
const REDRAW_MS = 80
const LOG_MS = 10_000

const MAX_BAR_WIDTH = 28 // terminal columns
const MIN_BAR_WIDTH = 8

/**
 * The progress of one long step, in bytes, on stderr: a bar that redraws itself on a terminal, and elsewhere a plain line
 * every ten seconds, so that logs stay readable and short steps stay silent.
 */
export class ProgressBar {
  readonly #title: string
  readonly #totalBytes: number
  readonly #stream: NodeJS.WriteStream
  readonly #started = performance.now()
  #lastShown: number
  #drawn = false

  constructor(title: string, totalBytes: number, stream: NodeJS.WriteStream = process.stderr) {
    this.#title = title
    this.#totalBytes = totalBytes
    this.#stream = stream
    this.#lastShown = stream.isTTY ? Number.NEGATIVE_INFINITY : this.#started
  }

  update(doneBytes: number): void {
    const now = performance.now()
    if (now - this.#lastShown < (this.#stream.isTTY ? REDRAW_MS : LOG_MS)) return
    this.#lastShown = now
    const fraction = this.#totalBytes === 0 ? 1 : Math.min(1, doneBytes / this.#totalBytes)
    const percent = `${String(Math.floor(fraction * 100)).padStart(3)} %`
    const amounts = `${formatBytes(doneBytes)} of ${formatBytes(this.#totalBytes)}`
    if (!this.#stream.isTTY) {
      this.#stream.write(`${this.#title}: ${percent.trim()}, ${amounts}\n`)
      return
    }
    const left = this.#title
    const right = `${percent}  ${amounts}${this.#remaining(fraction, now)}`
    // One column stays free: a full line would make some terminals wrap and the next redraw start a line below.
    const columns = (this.#stream.columns || 80) - 1
    const width = Math.min(MAX_BAR_WIDTH, columns - left.length - right.length - '   '.length)
    const full = Math.round(fraction * width)
    const line =
      width < MIN_BAR_WIDTH
        ? `${left} ${right}`.slice(0, columns)
        : `${left}  ${'█'.repeat(full)}${'░'.repeat(width - full)} ${right}`
    this.#stream.write(`\r\u001b[K${line}`)
    this.#drawn = true
  }

  /** Removes the bar; what came of the step is for the caller to say. */
  end(): void {
    if (this.#drawn) this.#stream.write('\r\u001b[K')
    this.#drawn = false
  }

  #remaining(fraction: number, now: number): string {
    const elapsed = now - this.#started
    if (fraction === 0 || elapsed < 1000) return ''
    const left = elapsed / fraction - elapsed
    return `  ${left < 1000 ? 'under 1 s' : `${Math.round(left / 1000)} s`} left`
  }
}
