#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "mapping.h"

namespace onecopy {

// A mapping needs no descriptor, and a process may have few of them: those of more files are opened again when they are
// wanted. Memory has no path by which it could be.
constexpr size_t kMostKept = 512;

// No JavaScript value may be made while the mutex is held: that can start a garbage collection, which may run one of our
// deleters on this very thread, and the deleter takes the mutex.
struct Registry {
  std::mutex mutex;
  std::vector<Mapping*> mappings;
  uint32_t next_id = 1;
  size_t kept = 0;  // descriptors of mappings
};

// The one of this process.
Registry& TheRegistry();

// Counts one open handle less, and unmaps what nobody has any more.
void ReleaseHandle(Mapping* mapping);

FileIdentity IdentityOf(const struct stat& file);

}  // namespace onecopy
