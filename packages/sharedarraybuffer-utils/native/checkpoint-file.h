#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "descriptor.h"
#include "file-time.h"
#include "json-cursor.h"

namespace onecopy {

// Whether somebody still waits for what a job makes: until a number in shared memory is not 0 any more.
class Wanted {
 public:
  Wanted() = default;
  explicit Wanted(const int32_t* cancelled) : cancelled_(cancelled) {}
  explicit operator bool() const { return __atomic_load_n(cancelled_, __ATOMIC_RELAXED) == 0; }

 private:
  const int32_t* cancelled_ = nullptr;
};

// A shard or an index, open.
class File {
 public:
  static constexpr size_t kPiece = 4 << 20;  // bytes that are read before the job looks whether it is still wanted

  // Only a regular file: a FIFO would wait, and to open a device may do something.
  bool Open(const std::string& path) {
    struct stat before;
    if (stat(path.c_str(), &before) != 0 || !S_ISREG(before.st_mode)) return false;
    Descriptor file(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    descriptor_ = std::make_shared<const Descriptor>(std::move(file));
    return descriptor_->valid() && fstat(number(), &state_) == 0 && S_ISREG(state_.st_mode) && modified().exact_in_node();
  }

  bool Read(const Wanted& wanted, char* to, size_t length, size_t offset) const {
    for (size_t done = 0; done < length;) {
      if (!wanted) return false;
      const ssize_t got = pread(number(), to + done, std::min(length - done, kPiece), offset + done);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return false;
      done += got;
    }
    return true;
  }

  uint64_t byte_length() const { return static_cast<uint64_t>(state_.st_size); }
  uint64_t inode() const { return state_.st_ino; }
  std::pair<uint64_t, uint64_t> identity() const { return {state_.st_dev, state_.st_ino}; }
  FileTime modified() const { return FileTime::Of(state_); }
  int number() const { return descriptor_->number(); }
  const SharedDescriptor& descriptor() const { return descriptor_; }
  void Close() { descriptor_.reset(); }

 private:
  struct stat state_ {};
  SharedDescriptor descriptor_;
};

// Reads of a file bring in what they ask for and nothing ahead of it, for as long as this lives.
class ScatteredReads {
 public:
  explicit ScatteredReads(int descriptor) : descriptor_(descriptor) { posix_fadvise(descriptor_, 0, 0, POSIX_FADV_RANDOM); }
  ~ScatteredReads() { posix_fadvise(descriptor_, 0, 0, POSIX_FADV_NORMAL); }
  ScatteredReads(const ScatteredReads&) = delete;
  ScatteredReads& operator=(const ScatteredReads&) = delete;

 private:
  int descriptor_;
};

// Text with the zeros behind it that JsonCursor wants; one may be read after another.
class JsonText {
 public:
  char* Allocate(size_t length) {
    if (length + kJsonPadding > capacity_) {
      bytes_.reset();
      bytes_.reset(new char[length + kJsonPadding]);
      capacity_ = length + kJsonPadding;
    }
    std::fill_n(bytes_.get() + length, kJsonPadding, '\0');
    length_ = length;
    return bytes_.get();
  }
  std::string_view view() const { return {bytes_.get(), length_}; }

 private:
  std::unique_ptr<char[]> bytes_;
  size_t capacity_ = 0;
  size_t length_ = 0;
};

}  // namespace onecopy
