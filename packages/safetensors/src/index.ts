export { tensorByteLength } from './byte-length.ts'
export type { Rule } from './check-options.ts'
export { checkArgument, checkOptions, rules } from './check-options.ts'
export type { Dtype } from './dtype.ts'
export { compareDtypes, DTYPE_NAMES, DTYPES, dtypeBits, isDtype } from './dtype.ts'
export type { SafetensorsErrorCode, SafetensorsErrorFields } from './errors.ts'
export { quoteName, SafetensorsError, withPath } from './errors.ts'
export { forEachRun, gather } from './gather.ts'
export { escapeGlob, GlobError, moduleGlob, parseGlob } from './glob.ts'
export { globMatcher, MAX_NUMBER_DIGITS } from './glob-matcher.ts'
export type { Header, TensorInfo } from './header.ts'
export { HEADER_PREFIX_BYTES, MAX_HEADER_BYTES, parseHeader, parseSafetensors, readHeaderLength } from './header.ts'
export { nearestNames } from './nearest-names.ts'
export type { Extent, ExtentChoice, SelectedBox, SelectedRange, SelectedSlice } from './selected-slice.ts'
export {
  extentChoices,
  extentsOf,
  forEachCopy,
  gatherSelected,
  joinTouching,
  resolveSelected,
} from './selected-slice.ts'
export type { ResolvedSelection, SelectedTensor, Selection } from './selection.ts'
export { resolveSelection, validateSelection } from './selection.ts'
export type { MetadataInput, SerializedHeader, TensorData, TensorSpec } from './serialize.ts'
export { checkMetadata, serialize, serializeHeader } from './serialize.ts'
export type { ShardIndex, ShardIndexInput } from './shard-index.ts'
export { MAX_INDEX_BYTES, parseShardIndex, serializeShardIndex } from './shard-index.ts'
export type { IndexName, ParsedShardName, ShardName } from './shard-names.ts'
export { assertPlainShardName, indexFileName, parseShardFileName, shardFileName } from './shard-names.ts'
export type { ResolvedSlice, SliceLoop, SliceRange } from './slice.ts'
export { resolveSlice } from './slice.ts'
export type { HeaderOfShard, IndexedShard, IndexedTensor, TensorIndex } from './tensor-index.ts'
export { indexHeaders, layoutText, tensorIndex } from './tensor-index.ts'
export { compareUtf8 } from './utf8.ts'
