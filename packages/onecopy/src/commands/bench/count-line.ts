/** How far something is that is counted rather than measured in bytes: a line on a terminal, nothing elsewhere. */
export class CountLine {
  readonly #title: string
  readonly #total: number
  readonly #stream: NodeJS.WriteStream
  #done = 0

  constructor(title: string, total: number, stream: NodeJS.WriteStream = process.stderr) {
    this.#title = title
    this.#total = total
    this.#stream = stream
    this.add(0)
  }

  add(count: number): void {
    this.#done += count
    if (this.#stream.isTTY) this.#stream.write(`\r\u001b[K${this.#title}: ${this.#done} of ${this.#total}`)
  }

  end(): void {
    if (this.#stream.isTTY) this.#stream.write('\r\u001b[K')
  }
}
