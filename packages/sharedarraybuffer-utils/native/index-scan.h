#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace onecopy {

// Where a shard index says that a tensor is.
struct IndexEntry {
  std::string_view name;  // in the index's bytes
  uint32_t shard;         // position in `shard_names`
};

struct ScannedIndex {
  std::vector<IndexEntry> entries;             // in the order of the JSON; a name may stand here twice, which is forbidden
  std::vector<std::string_view> shard_names;  // each once, in the order in which the map first names them
};

// Reads a shard index whose names are plain; false for any other, valid or not. What is read here the strict parser
// accepts too, save for tensors that stand there twice. `json` has kJsonPadding zeros behind it.
bool ScanIndex(std::string_view json, ScannedIndex& index);

}  // namespace onecopy
