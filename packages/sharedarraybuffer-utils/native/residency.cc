#include "residency.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>

#include "job.h"
#include "mapping.h"
#include "out-of-memory.h"
#include "read-pages.h"
#include "system-error.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22  // Linux 5.14; older headers lack the name
#endif

namespace onecopy {
namespace {

// The order stands in src/addon.ts too.
enum class Advice : uint32_t { kReadAhead, kPopulate, kRead, kLock, kUnlock };

// Into the page cache by reading, for kernels without MADV_POPULATE_READ. Touching the pages instead would kill the
// process if the file were cut meanwhile; a read comes back short.
int ReadThrough(int descriptor, const Pages& pages) {
  constexpr size_t kChunk = 1 << 20;
  const auto scratch = Allocate<uint8_t>(kChunk);
  size_t done = 0;
  while (done < pages.byte_length) {
    const size_t wanted = std::min(kChunk, pages.byte_length - done);
    const ssize_t got = pread(descriptor, scratch.get(), wanted, pages.file_offset + done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) return EFAULT;
    done += got;
  }
  return 0;
}

// mlock says ENOMEM both for a limit and for pages that no file stands behind any more.
int LockError(int descriptor, const Pages& pages, int error) {
  struct stat file;
  const bool cut = fstat(descriptor, &file) == 0 &&
                   static_cast<size_t>(file.st_size) < pages.file_offset + pages.byte_length;
  return cut ? EFAULT : error;
}

int Apply(const Mapping& mapping, int descriptor, const Pages& pages, Advice advice, size_t limit) {
  if (pages.byte_length == 0) return 0;
  if (advice == Advice::kPopulate || advice == Advice::kLock) ReadPages(mapping, descriptor, pages, limit);
  if (advice == Advice::kRead) RequestPages(pages);
  int result = 0;
  switch (advice) {
    case Advice::kReadAhead: result = madvise(pages.start, pages.byte_length, MADV_WILLNEED); break;
    case Advice::kPopulate: result = madvise(pages.start, pages.byte_length, MADV_POPULATE_READ); break;
    case Advice::kRead: return ReadThrough(descriptor, pages);
    case Advice::kLock: result = mlock(pages.start, pages.byte_length); break;
    case Advice::kUnlock: result = munlock(pages.start, pages.byte_length); break;
  }
  if (result == 0) return 0;
  const int error = errno;
  // A policy that refuses advice has nothing against reading.
  if (advice == Advice::kReadAhead && (error == EPERM || error == ENOSYS)) return ReadThrough(descriptor, pages);
  return advice == Advice::kLock ? LockError(descriptor, pages, error) : error;
}

const char* SyscallOf(Advice advice) {
  switch (advice) {
    case Advice::kRead: return "pread";
    case Advice::kLock: return "mlock";
    case Advice::kUnlock: return "munlock";
    default: return "madvise";
  }
}

// Without a descriptor the pages are asked for by their addresses alone.
int NumberOf(const SharedDescriptor& descriptor) { return descriptor == nullptr ? -1 : descriptor->number(); }

// One range on libuv's thread pool. It counts as a buffer, so that close() cannot unmap what is being worked on.
class AdviceJob : public Job {
 public:
  AdviceJob(Napi::Env env, Mapping* mapping, size_t begin, size_t end, Advice advice, size_t limit)
      : Job(env),
        mapping_(mapping),
        descriptor_(DescriptorFor(mapping)),
        begin_(begin),
        end_(end),
        advice_(advice),
        limit_(limit) {
    RetainBuffer(mapping);
  }
  ~AdviceJob() override { ReleaseBuffer(mapping_); }

 private:
  Failure Work() override {
    const int error = Apply(*mapping_, NumberOf(descriptor_), Pages(*mapping_, begin_, end_), advice_, limit_);
    return error == 0 ? Failure{} : Failure{error, SyscallOf(advice_), mapping_->path};
  }

  Mapping* mapping_;
  SharedDescriptor descriptor_;
  size_t begin_;
  size_t end_;
  Advice advice_;
  size_t limit_;
};

size_t SizeArgument(const Napi::CallbackInfo& info, size_t argument) {
  return static_cast<size_t>(info[argument].As<Napi::Number>().Int64Value());
}

}  // namespace

// residentBytes(handle, begin, end): how many bytes of the range lie in RAM, counted by page; null where it cannot be told.
Napi::Value ResidentBytes(const Napi::CallbackInfo& info) {
  Mapping* mapping = OpenMapping(info, 0);
  const size_t begin = SizeArgument(info, 1);
  const size_t end = std::min(SizeArgument(info, 2), mapping->byte_length);
  const Pages pages(*mapping, begin, end);
  constexpr size_t kBatch = 1 << 16;  // pages an mincore call
  const auto present = Allocate<unsigned char>(kBatch);
  size_t resident = 0;
  for (size_t done = 0; done < pages.byte_length; done += kBatch * kPage) {
    const size_t length = std::min(kBatch * kPage, pages.byte_length - done);
    // Sandboxes and services may refuse the question; then nobody knows.
    if (mincore(pages.start + done, length, present.get()) != 0) return info.Env().Null();
    for (size_t page = 0; page * kPage < length; page++) {
      if ((present[page] & 1) == 0) continue;
      const size_t first = pages.file_offset + done + page * kPage;
      resident += std::min(first + kPage, end) - std::max(first, begin);
    }
  }
  return Napi::Number::New(info.Env(), static_cast<double>(resident));
}

// adviseRange(handle, begin, end, advice, limit): a promise; nothing is read beyond the limit, which may be further than the end.
Napi::Value AdviseRange(const Napi::CallbackInfo& info) {
  return Job::Start(std::make_unique<AdviceJob>(info.Env(), OpenMapping(info, 0), SizeArgument(info, 1),
                                                SizeArgument(info, 2),
                                                static_cast<Advice>(info[3].As<Napi::Number>().Uint32Value()),
                                                SizeArgument(info, 4)));
}

// evictMapping(handle): asks the kernel to drop the file's pages from RAM.
Napi::Value EvictMapping(const Napi::CallbackInfo& info) {
  Mapping* mapping = OpenMapping(info, 0);
  // Pages that stand in a page table are kept, so this process lets go of them first; they come back on the next read.
  if (mapping->byte_length > 0) madvise(const_cast<uint8_t*>(mapping->base), mapping->byte_length, MADV_DONTNEED);
  const SharedDescriptor file = DescriptorFor(mapping);
  if (file == nullptr) throw SystemError(info.Env(), errno, "open", mapping->path);
  const int error = posix_fadvise(file->number(), 0, 0, POSIX_FADV_DONTNEED);
  if (error != 0) throw SystemError(info.Env(), error, "posix_fadvise", mapping->path);
  return info.Env().Undefined();
}

}  // namespace onecopy
