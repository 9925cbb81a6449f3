// How a program of this folder answers the test that started it, see ../processes.ts.

/**
 * Serves requests over the channel to the parent, and ends with it.
 * @param {Record<string, (argument: any) => unknown>} verbs
 */
export function answer(verbs) {
  process.on('message', async (/** @type {{ id: number, verb: string, argument: unknown }} */ request) => {
    const { id, verb, argument } = request
    try {
      const result = verb === 'collect' ? await collect() : await verbs[verb]?.(argument)
      process.send?.({ id, result })
    } catch (error) {
      const { name, message, code } = /** @type {Error & { code?: string }} */ (error)
      process.send?.({ id, error: { name, message, code } })
    }
  })
  process.on('disconnect', () => process.exit())
  process.send?.({ id: 0 })
}

/** Two passes: the first one's finalizers are what makes further objects garbage. */
async function collect() {
  for (let pass = 0; pass < 2; pass++) {
    globalThis.gc?.()
    await new Promise((resolve) => setImmediate(resolve))
  }
}
