import { capabilities } from '@onecopy/sharedarraybuffer-utils'

/** Whether files can be mapped here, memory sealed and descriptors sent: tests that look at this cannot pass without. */
export const HAS_ADDON: boolean = capabilities().backings.includes('file')
