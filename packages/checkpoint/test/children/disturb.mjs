// @ts-check
// Does to files what must not hurt whoever opens them, until "stop" comes in:
// node disturb.mjs <folder of versions> <file> <truncate | replace>
import { copyFileSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const [versions = '', file = '', way = ''] = process.argv.slice(2)
const names = readdirSync(versions)
let stopped = false
process.stdin.on('data', () => {
  stopped = true
})
process.stdout.write('ready\n')
for (let round = 0; !stopped; round++) {
  const version = join(versions, /** @type {string} */ (names[round % names.length]))
  if (way === 'truncate') {
    truncateSync(file, [0, 7, 100, 20_000][round % 4])
    await sleep(1)
    writeFileSync(file, readFileSync(version))
  } else {
    if (round % 3 === 0) rmSync(file, { force: true })
    await sleep(1)
    copyFileSync(version, `${file}.new`)
    renameSync(`${file}.new`, file)
  }
  await sleep(5)
}
writeFileSync(`${file}.new`, readFileSync(join(versions, /** @type {string} */ (names[0]))))
renameSync(`${file}.new`, file)
process.stdin.destroy()
