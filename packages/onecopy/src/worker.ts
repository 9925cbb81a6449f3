export { weights } from '@onecopy/client/worker'
