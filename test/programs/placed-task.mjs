// A task of a pool with a plan: products over the part of the thread's worker.
import { weights } from 'onecopy/worker'
import { productsOf } from './llama-products.mjs'

/** @param {readonly number[]} x */
export default function products(x) {
  return productsOf(weights(), x)
}
