#include "descriptor-table.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <system_error>
#include <thread>

namespace onecopy {
namespace {

// Enough for the shards of the largest checkpoints, and 8 KiB of kernel memory.
constexpr rlim_t kRoom = 1024;

void Grow() {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const int last = static_cast<int>(std::min(limit.rlim_cur, kRoom)) - 1;
  const int any = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (any < 0) return;
  const int high = fcntl(any, F_DUPFD_CLOEXEC, last);
  if (high >= 0) close(high);
  close(any);
}

}  // namespace

// A table that is full (at 64, 128, 256 descriptors and so on) is copied by whoever opens the next one. In a process with
// threads that caller then waits until no processor can still be reading the old table (synchronize_rcu): 8 to 30 ms each
// time, measured where 158 shards were opened and mapped. Here nobody waits for it.
void GrowDescriptorTable() {
  static std::once_flag once;
  std::call_once(once, [] {
    try {
      std::thread(Grow).detach();
    } catch (const std::system_error&) {
      // No thread to be had: then the callers wait, as they would have.
    }
  });
}

}  // namespace onecopy
