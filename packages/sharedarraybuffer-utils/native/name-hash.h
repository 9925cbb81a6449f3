#pragma once

#include <cstdint>
#include <string_view>

namespace onecopy {

// FNV-1a, as hashName() in packages/checkpoint/src/directory-layout.ts.
inline uint32_t HashName(std::string_view name) {
  uint32_t hash = 0x811c9dc5;
  for (const char byte : name) hash = (hash ^ static_cast<uint8_t>(byte)) * 0x01000193;
  return hash;
}

}  // namespace onecopy
