#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "header-scan.h"
#include "index-scan.h"

namespace onecopy {

// A shard file whose header was read.
struct ScannedShard {
  std::string name;
  std::string path;
  uint64_t byte_length = 0;
  uint64_t data_offset = 0;  // first byte behind the header
  uint64_t inode = 0;
  uint64_t modified_ns = 0;  // since the epoch
  ScannedHeader header;
  std::vector<uint32_t> name_hashes;  // of the header's tensors
};

uint32_t HashName(std::string_view name);

// Memory for a table, zeroed, of its own pages; Release() gives it away.
class TableMemory {
 public:
  TableMemory() = default;
  ~TableMemory();
  TableMemory(const TableMemory&) = delete;
  TableMemory& operator=(const TableMemory&) = delete;

  bool Allocate(size_t byte_length);
  uint8_t* base() const { return base_; }
  size_t byte_length() const { return byte_length_; }
  uint8_t* Release();

 private:
  uint8_t* base_ = nullptr;
  size_t byte_length_ = 0;
};

// Lays out the directory that packages/checkpoint/src/directory-layout.ts describes, byte for byte as build-directory.ts
// does. False for a name that comes twice, for an index that disagrees with the shards, and where there is no memory.
// `index` is null where the shards came without one; its shard names are those of `shards`, in the same order.
bool LayOutTable(const std::vector<ScannedShard>& shards, const ScannedIndex* index, TableMemory& table);

}  // namespace onecopy
