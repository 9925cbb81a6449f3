#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "mapping.h"

namespace onecopy {

inline const size_t kPage = sysconf(_SC_PAGESIZE);

// The whole pages that hold [begin, end) of a mapping, cut to the mapping.
struct Pages {
  uint8_t* start;
  size_t byte_length;
  size_t file_offset;

  Pages(const Mapping& mapping, size_t begin, size_t end) {
    begin = std::min(begin, mapping.byte_length) / kPage * kPage;
    end = std::min((end + kPage - 1) / kPage * kPage, mapping.byte_length);
    start = const_cast<uint8_t*>(mapping.base) + begin;
    byte_length = end > begin ? end - begin : 0;
    file_offset = begin;
  }
};

// Asks the kernel to read exactly these pages, soon.
void RequestPages(const Pages& pages);

// Reads pages that are not in RAM; nothing beyond `limit`, the end of what is wanted of the file.
void ReadPages(const Mapping& mapping, int descriptor, const Pages& pages, size_t limit);

}  // namespace onecopy
