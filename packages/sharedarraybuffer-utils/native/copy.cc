#include "copy.h"

#include <unistd.h>

#include <cerrno>

namespace onecopy {

Failure ReadAll(int source, uint8_t* to, size_t length, size_t offset) {
  for (size_t done = 0; done < length;) {
    const ssize_t got = pread(source, to + done, length - done, offset + done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return {errno, "pread"};
    if (got == 0) return {ESTALE, "pread", "", static_cast<int64_t>(offset + done)};  // it was longer before
    done += got;
  }
  return {};
}

Failure WriteAll(int memory, const uint8_t* from, size_t length, size_t offset) {
  for (size_t done = 0; done < length;) {
    const ssize_t wrote = pwrite(memory, from + done, length - done, offset + done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return {errno, "pwrite"};
    done += wrote;
  }
  return {};
}

}  // namespace onecopy
