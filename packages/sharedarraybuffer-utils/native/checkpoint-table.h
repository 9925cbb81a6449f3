#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "file-time.h"
#include "header-scan.h"
#include "index-scan.h"
#include "table-memory.h"

namespace onecopy {

// A shard file whose header was read.
struct ScannedShard {
  std::string name;
  std::string path;
  uint64_t byte_length = 0;
  uint64_t data_offset = 0;  // first byte behind the header
  uint64_t inode = 0;
  FileTime modified;
  ScannedHeader header;
};

// Lays out the directory that packages/checkpoint/src/directory-layout.ts describes, byte for byte as build-directory.ts
// does. False for a name that comes twice, for an index that disagrees with the shards, and where there is no memory.
// `index` is null where the shards came without one; its shard names are those of `shards`, in the same order.
bool LayOutTable(const std::vector<ScannedShard>& shards, const ScannedIndex* index, TableMemory& table);

}  // namespace onecopy
