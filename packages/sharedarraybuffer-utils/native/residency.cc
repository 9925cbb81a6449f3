#include "residency.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "job.h"
#include "mapping.h"
#include "out-of-memory.h"
#include "system-error.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22  // Linux 5.14; older headers lack the name
#endif

namespace onecopy {
namespace {

const size_t kPage = sysconf(_SC_PAGESIZE);

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

// Asks for exactly these pages. Those that are faulted in instead bring the disk's read-ahead along, which may be many
// times what was asked for: 8 MB around every range on some machines. The kernel cuts one request to the read-ahead of the
// disk or its largest transfer, and neither is usually less than this.
void RequestPages(const Pages& pages) {
  constexpr size_t kRequest = 128 << 10;
  for (size_t done = 0; done < pages.byte_length; done += kRequest) {
    madvise(pages.start + done, std::min(kRequest, pages.byte_length - done), MADV_WILLNEED);
  }
}

// Whether a mapping with MADV_HUGEPAGE and MADV_RANDOM is read in whole huge pages, and nothing beyond them. Kernels before
// 5.18 would read it one small page after the other.
bool ReadsHugePages() {
  utsname system;
  int major = 0, minor = 0;
  if (uname(&system) != 0 || sscanf(system.release, "%d.%d", &major, &minor) != 2) return false;
  return major > 5 || (major == 5 && minor >= 18);
}

// The size of a huge page in bytes, 0 where files are not read in such.
size_t HugePage() {
  static const size_t size = [] {
    size_t bytes = 0;
    FILE* const file = fopen("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "re");
    if (file == nullptr) return bytes;
    if (fscanf(file, "%zu", &bytes) != 1 || !ReadsHugePages()) bytes = 0;
    fclose(file);
    return bytes;
  }();
  return size;
}

bool AllResident(const Mapping& mapping, const Pages& pages) {
  std::vector<unsigned char> present((pages.byte_length + kPage - 1) / kPage);
  if (!mapping.residency_visible || mincore(pages.start, pages.byte_length, present.data()) != 0) return false;
  return std::all_of(present.begin(), present.end(), [](unsigned char page) { return (page & 1) != 0; });
}

// Whether what stands behind the file answers late, or is a program: many small requests at once then bring the pages in
// sooner than few large ones, and huge pages do not come of either.
bool IsFarAway(int descriptor) {
  constexpr uint32_t kSmb = 0xfe534d42, kLustre = 0x0bd00bd0;
  static constexpr uint32_t kFar[] = {NFS_SUPER_MAGIC, FUSE_SUPER_MAGIC, CIFS_SUPER_MAGIC, kSmb,
                                      CEPH_SUPER_MAGIC, V9FS_MAGIC,      AFS_SUPER_MAGIC,  kLustre};
  struct statfs system;
  if (fstatfs(descriptor, &system) != 0) return false;
  return std::find(std::begin(kFar), std::end(kFar), static_cast<uint32_t>(system.f_type)) != std::end(kFar);
}

// How far the kernel reads ahead in this file, in bytes.
size_t ReadAheadBytes(const Mapping& mapping) {
  constexpr size_t kUsualMost = 8 << 20;
  const dev_t device = mapping.identity.device;
  const std::string path = "/sys/class/bdi/" + std::to_string(major(device)) + ":" + std::to_string(minor(device));
  FILE* const file = fopen((path + "/read_ahead_kb").c_str(), "re");
  if (file == nullptr) return kUsualMost;
  size_t kib = 0;
  const bool told = fscanf(file, "%zu", &kib) == 1;
  fclose(file);
  return told ? std::max<size_t>(kib << 10, 4 << 20) : kUsualMost;  // a device's largest transfer may be more than its read-ahead
}

// Reads pages that are not in RAM, as huge pages where whole ones lie within: two megabytes at a time are a fraction of
// the work for the processor, and whoever maps the file later has them as huge pages too. By a mapping of its own, since
// the advice would stay with the mapping. What fails here is told by whoever touches the pages afterwards.
//
// The kernel marks such pages, and whoever touches a mark first makes it read ahead. So there are none where that would
// reach beyond `limit`, the end of what is wanted of the file.
void ReadPages(const Mapping& mapping, int descriptor, const Pages& pages, size_t limit) {
  if (AllResident(mapping, pages)) return;
  const size_t huge = HugePage();
  if (huge == 0 || IsFarAway(descriptor)) return RequestPages(pages);
  const size_t last = pages.file_offset + pages.byte_length;
  const size_t ahead = limit >= mapping.byte_length ? 0 : ReadAheadBytes(mapping);
  const size_t begin = (pages.file_offset + huge - 1) / huge * huge;
  const size_t end = std::min(last, limit - std::min(limit, ahead)) / huge * huge;
  if (begin >= end) return RequestPages(pages);
  void* const window = mmap(nullptr, end - begin, PROT_READ, MAP_SHARED, descriptor, static_cast<off_t>(begin));
  if (window == MAP_FAILED) return RequestPages(pages);
  // What is read ahead of this piece is wanted too, but for the last piece.
  if (last + ahead > limit) madvise(window, end - begin, MADV_RANDOM);
  if (madvise(window, end - begin, MADV_HUGEPAGE) == 0) {
    madvise(window, end - begin, MADV_POPULATE_READ);
    RequestPages(Pages(mapping, pages.file_offset, begin));
    RequestPages(Pages(mapping, end, last));
  } else {
    RequestPages(pages);
  }
  munmap(window, end - begin);
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
  if (file == nullptr) throw SystemError(info.Env(), ESTALE, "open", mapping->path);
  const int error = posix_fadvise(file->number(), 0, 0, POSIX_FADV_DONTNEED);
  if (error != 0) throw SystemError(info.Env(), error, "posix_fadvise", mapping->path);
  return info.Env().Undefined();
}

// memoryLimits(): what this kernel and process allow.
Napi::Value MemoryLimits(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  void* probe = mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const bool populate = probe != MAP_FAILED && madvise(probe, kPage, MADV_POPULATE_READ) == 0;
  if (probe != MAP_FAILED) munmap(probe, kPage);
  const int sealed = memfd_create("onecopy-probe", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (sealed >= 0) close(sealed);
  // What cannot be told is no limit.
  const auto limit_of = [](__rlimit_resource_t resource) {
    struct rlimit limit;
    return getrlimit(resource, &limit) == 0 ? limit.rlim_cur : RLIM_INFINITY;
  };
  const auto limit = [env](rlim_t value) -> Napi::Value {
    if (value == RLIM_INFINITY) return env.Null();
    return Napi::Number::New(env, static_cast<double>(value));
  };
  Napi::Object result = Napi::Object::New(env);
  result.Set("pageBytes", Napi::Number::New(env, static_cast<double>(kPage)));
  result.Set("populateRead", Napi::Boolean::New(env, populate));
  result.Set("sealing", Napi::Boolean::New(env, sealed >= 0));
  result.Set("lockLimitBytes", limit(limit_of(RLIMIT_MEMLOCK)));
  result.Set("addressSpaceLimitBytes", limit(limit_of(RLIMIT_AS)));
  result.Set("descriptorLimit", Napi::Number::New(env, static_cast<double>(limit_of(RLIMIT_NOFILE))));
  return result;
}

}  // namespace onecopy
