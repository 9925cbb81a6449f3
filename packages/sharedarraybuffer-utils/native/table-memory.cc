#include "table-memory.h"

#include <sys/mman.h>

namespace onecopy {

TableMemory::~TableMemory() {
  if (base_ != nullptr) munmap(base_, byte_length_);
}

bool TableMemory::Allocate(size_t byte_length) {
  void* const base = mmap(nullptr, byte_length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return false;
  base_ = static_cast<uint8_t*>(base);
  byte_length_ = byte_length;
  return true;
}

uint8_t* TableMemory::Release() {
  uint8_t* const base = base_;
  base_ = nullptr;
  return base;
}

}  // namespace onecopy
