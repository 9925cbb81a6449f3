// A worker of a plan: placed-worker.mjs <JSON of attach's options, the selection among them>.
import { attach } from '@onecopy/client'
import { answer } from './answer.mjs'
import { checksum } from './checksum.mjs'
import { productsOf } from './llama-products.mjs'

const checkpoint = await attach(JSON.parse(process.argv[2] ?? '{}'))

answer({
  products: (x) => productsOf(checkpoint, x),
  checksums: () => Object.fromEntries([...checkpoint.tensors()].map((view) => [view.name, checksum(view)])),
  close: () => checkpoint.close(),
})
