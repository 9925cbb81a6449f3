import { setImmediate as nextTurn } from 'node:timers/promises'

/** How long this thread works at something before others get their turn, in milliseconds. */
const TURN_MS = 4

/** Lets others have their turn whenever one is over; call `pause` often. */
export class Turns {
  #began: number = performance.now()

  async pause(): Promise<void> {
    if (performance.now() - this.#began < TURN_MS) return
    await nextTurn()
    this.#began = performance.now()
  }
}

/** As `map`, one after the other, with others having their turn in between. */
export async function inTurns<Item, Result>(
  items: Iterable<Item>,
  map: (item: Item) => Result | Promise<Result>,
): Promise<Result[]> {
  const turns = new Turns()
  const results: Result[] = []
  for (const item of items) {
    await turns.pause()
    results.push(await map(item))
  }
  return results
}
