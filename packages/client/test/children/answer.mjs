// @ts-nocheck
/** Answers the requests of the parent, see Program in support.ts. */
export function answer(verbs) {
  process.on('message', async ({ id, verb, args }) => {
    try {
      process.send({ id, result: (await verbs[verb](...args)) ?? null })
    } catch ({ name, code, message }) {
      process.send({ id, error: { name, code, message } })
    }
  })
  process.send({ id: 0 })
}
