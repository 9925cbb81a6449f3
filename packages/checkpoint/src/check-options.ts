export { checkArgument, checkOptions, rules } from '@onecopy/safetensors/tensors'
