// @ts-check
import { createInterface } from 'node:readline'

/**
 * Says that a program is ready, answers each line of its input, and ends the process with the input; see
 * `harness/program.mjs`.
 *
 * @param {unknown} ready
 * @param {(question: any) => unknown} [answer]
 */
export async function serve(ready, answer = () => null) {
  console.log(JSON.stringify(ready ?? null))
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(JSON.stringify((await answer(JSON.parse(line))) ?? null))
  }
  process.exit()
}
