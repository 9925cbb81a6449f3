// @ts-check
// Opens a checkpoint, brings it into RAM as a policy says, and reads a byte of each page of its first tensor and of all;
// prints when what was there.
import { openCheckpoint } from 'onecopy'

const PAGE_BYTES = 4096
const { folder, policy } = JSON.parse(process.argv[2] ?? '{}')

/** @type {Readonly<Record<string, import('onecopy').OpenOptions>>} */
const OPTIONS = {
  lazy: {},
  prefetch: {},
  populate: { residency: 'populate' },
  sealed: { backing: 'sealed' },
}

const now = () => process.hrtime.bigint()
const milliseconds = (/** @type {bigint} */ from, /** @type {bigint} */ to) => Number(to - from) / 1e6

/** @param {string} name */
function touch(name) {
  let checksum = 0
  const bytes = new Uint8Array(checkpoint.tensor(name).buffer)
  for (let at = 0; at < bytes.length; at += PAGE_BYTES) checksum += bytes[at] ?? 0
  checksum += bytes[bytes.length - 1] ?? 0 // on a page of its own where the tensor begins inside one
  return checksum
}

const beganNs = now()
const checkpoint = await openCheckpoint(folder, OPTIONS[policy] ?? {})
const openedNs = now()
const [first = ''] = checkpoint.names
let ioMs = 0
/** @param {import('onecopy').PrefetchOptions} options */
async function prefetch(options) {
  const started = now()
  await checkpoint.prefetch(options)
  ioMs += milliseconds(started, now())
}

if (policy === 'prefetch') await prefetch({ tensors: [first] })
const firstTouchNs = now()
touch(first)
const firstNs = now()
let residentNs = openedNs
if (policy === 'prefetch') {
  await prefetch({})
  residentNs = now()
}
const touchNs = now()
for (const name of checkpoint.names) touch(name)
const forwardNs = now()
if (policy === 'lazy') residentNs = forwardNs

const { majorPageFault: majorFaults, minorPageFault: minorFaults } = process.resourceUsage()
const { residentBytes } = checkpoint.residency()
checkpoint.close()
console.log(
  JSON.stringify({
    beganNs: `${beganNs}`,
    firstNs: `${firstNs}`,
    forwardNs: `${forwardNs}`,
    residentNs: `${residentNs}`,
    openMs: milliseconds(beganNs, openedNs),
    ...(policy === 'prefetch' && { ioMs }),
    touchMs: milliseconds(firstTouchNs, firstNs) + milliseconds(touchNs, forwardNs),
    majorFaults,
    minorFaults,
    residentBytes,
  }),
)
