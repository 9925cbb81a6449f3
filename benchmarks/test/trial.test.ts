import { expect, it } from 'vitest'
import { numbersOf, runTrial, sinceStart } from '../harness/trial.mjs'

const evaluate = (script: string, timeoutMs = 60_000) => runTrial(process.execPath, ['-e', script], { timeoutMs })

it('runTrial() takes the last line that a program prints, and one clock serves both', async () => {
  const trial = await evaluate(
    'console.log("other"); console.log(JSON.stringify({ ms: 1.5, atNs: String(process.hrtime.bigint()) }))',
  )
  expect(numbersOf(trial)).toEqual({ ms: 1.5 })
  expect(sinceStart(trial)).toBeGreaterThan(0)
  expect(sinceStart(trial)).toBeLessThan(trial.processMs)
})

it.each([
  { what: 'fails', script: 'console.error("why"); process.exit(3)', says: /exit code 3.*why/s },
  { what: 'prints no JSON', script: 'console.log("no")', says: /printed "no" last/ },
])('runTrial() throws when the program $what', async ({ script, says }) => {
  await expect(evaluate(script)).rejects.toThrow(says)
})

it('runTrial() ends a program that hangs', async () => {
  await expect(evaluate('setInterval(() => {}, 1000)', 300)).rejects.toThrow('ended with SIGKILL')
})
