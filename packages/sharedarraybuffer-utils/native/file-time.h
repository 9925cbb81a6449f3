#pragma once

#include <sys/stat.h>

#include <cstdint>

namespace onecopy {

// When a file was modified, since the epoch: whatever the file system holds. In one number of nanoseconds, 64 bits end in 2262.
struct FileTime {
  int64_t seconds = 0;  // rounded down
  uint32_t nanoseconds = 0;

  static FileTime Of(const struct stat& file) {
    return {file.st_mtim.tv_sec, static_cast<uint32_t>(file.st_mtim.tv_nsec)};
  }
  // Whether fs.stat() tells the same: it rounds seconds to doubles.
  bool exact_in_node() const { return seconds >= -(1ll << 53) && seconds <= 1ll << 53; }
  bool operator==(const FileTime&) const = default;
};

}  // namespace onecopy
