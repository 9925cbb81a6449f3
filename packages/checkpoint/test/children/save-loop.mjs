// @ts-check
// Saves one version after the other over a folder, in one, two or three files: node save-loop.mjs <folder> <count>
import { saveCheckpoint } from '../../dist/index.js'

const [folder = '', count = '1'] = process.argv.slice(2)
for (let version = 1; version <= Number(count); version++) {
  const tensors = Array.from({ length: 6 }, (_, at) => ({
    name: `layer.${at}`,
    dtype: /** @type {const} */ ('U8'),
    shape: [8192],
    data: new Uint8Array(8192).fill(version),
  }))
  // Mostly the same three files, whose versions could be mixed; now and then two, or one.
  const perShard = version % 10 === 0 ? 6 : version % 10 === 5 ? 3 : 2
  await saveCheckpoint(folder, tensors, { maxShardBytes: perShard * 8192 })
}
