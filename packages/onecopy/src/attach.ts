export type { AttachOptions } from '@onecopy/client'
export { attach } from '@onecopy/client/attach'
