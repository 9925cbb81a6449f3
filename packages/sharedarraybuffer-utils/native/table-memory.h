#pragma once

#include <cstddef>
#include <cstdint>

namespace onecopy {

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

}  // namespace onecopy
