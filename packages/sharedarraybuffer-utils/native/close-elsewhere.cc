#include "close-elsewhere.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

namespace onecopy {
namespace {

// Each may be stuck in a file of its own; beyond that, files wait for one that is not.
constexpr int kMostThreads = 16;

// Only files and folders of file systems without a block device (FUSE, NFS, overlays) have somebody behind them; the kernel
// answers this without asking him.
bool MayWait(int descriptor) {
  if (fcntl(descriptor, F_GET_SEALS) >= 0) return false;  // memory
  struct statx file;
  if (statx(descriptor, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &file) != 0) return true;
  return (S_ISREG(file.stx_mode) || S_ISDIR(file.stx_mode)) && file.stx_dev_major == 0;
}

struct Closing {
  std::mutex mutex;
  std::deque<int> waiting;
  int threads = 0;
};

// Never destroyed: a thread that is stuck outlives everything else.
Closing& TheClosing() {
  static Closing& closing = *new Closing;
  return closing;
}

void CloseAll() {
  Closing& closing = TheClosing();
  std::unique_lock lock(closing.mutex);
  while (!closing.waiting.empty()) {
    const int descriptor = closing.waiting.front();
    closing.waiting.pop_front();
    lock.unlock();
    close(descriptor);
    lock.lock();
  }
  closing.threads--;
}

}  // namespace

void CloseElsewhere(int descriptor) {
  if (!MayWait(descriptor)) {
    close(descriptor);
    return;
  }
  Closing& closing = TheClosing();
  const std::lock_guard lock(closing.mutex);
  closing.waiting.push_back(descriptor);
  if (closing.threads == kMostThreads) return;
  try {
    std::thread(CloseAll).detach();
    closing.threads++;
  } catch (const std::system_error&) {
    // No room for a thread: one of those that run comes to it, or the next that can be started.
  }
}

}  // namespace onecopy
