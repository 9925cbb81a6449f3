// @ts-check
// Attaches to a coordinator and looks one tensor up.
import { attach } from 'onecopy/attach' // the light door: only what a client needs is loaded

const { tensors, ...options } = JSON.parse(process.argv[2] ?? '{}')
const started = performance.now()
const checkpoint = await attach(options)
const attachMs = performance.now() - started
const atNs = `${process.hrtime.bigint()}`
if (checkpoint.tensorCount !== tensors) throw new Error(`${checkpoint.tensorCount} tensors, required are ${tensors}`)
checkpoint.close()
console.log(JSON.stringify({ attachMs, atNs }))
