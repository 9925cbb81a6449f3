#include "sealed-memory.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "copy.h"
#include "descriptor.h"
#include "out-of-memory.h"
#include "system-error.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U  // Linux 6.3; older kernels answer EINVAL
#endif

namespace onecopy {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
constexpr size_t kBounceBytes = 1 << 20;
constexpr size_t kDirectAlign = 4096;  // what O_DIRECT asks of address, offset and length on every usual file system

struct Free {
  void operator()(uint8_t* memory) const { free(memory); }
};

// Through a small buffer that stays in the processor's cache: reading straight into the memory's mapping would fault and
// clear every page first, and half the speed is gone.
Failure CopyRange(int memory, int source, size_t begin, size_t end, bool drop_behind) {
  const std::unique_ptr<uint8_t, Free> bounce(static_cast<uint8_t*>(aligned_alloc(kDirectAlign, kBounceBytes)));
  if (bounce == nullptr) throw OutOfMemory(kBounceBytes);
  for (size_t at = begin; at < end;) {
    // O_DIRECT reads whole blocks; the last one of a file comes back short.
    const size_t wanted = std::min(kBounceBytes, (end - at + kDirectAlign - 1) / kDirectAlign * kDirectAlign);
    const ssize_t got = pread(source, bounce.get(), wanted, at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return {errno, "pread"};
    if (got == 0) return {ESTALE, "pread", "", static_cast<int64_t>(at)};  // it was longer when its header was read
    const size_t length = std::min(static_cast<size_t>(got), end - at);
    const Failure written = WriteAll(memory, bounce.get(), length, at);
    if (written.error != 0) return written;
    at += length;
  }
  // What stays in the page cache would be a second copy of every byte; pages that others have mapped are kept.
  if (drop_behind) posix_fadvise(source, begin, end - begin, POSIX_FADV_DONTNEED);
  return {};
}

class FillJob : public Job {
 public:
  FillJob(Napi::Env env, SharedDescriptor memory, SharedDescriptor source, size_t begin, size_t end, bool drop_behind)
      : Job(env),
        memory_(std::move(memory)),
        source_(std::move(source)),
        begin_(begin),
        end_(end),
        drop_behind_(drop_behind) {}

 private:
  Failure Work() override { return CopyRange(memory_->number(), source_->number(), begin_, end_, drop_behind_); }

  SharedDescriptor memory_;
  SharedDescriptor source_;
  size_t begin_;
  size_t end_;
  bool drop_behind_;
};

size_t SizeArgument(const Napi::CallbackInfo& info, size_t argument) {
  return static_cast<size_t>(info[argument].As<Napi::Number>().Int64Value());
}

}  // namespace

Seals SealsOf(int descriptor) {
  const int seals = fcntl(descriptor, F_GET_SEALS);
  if (seals < 0 && errno != EINVAL) return Seals::kUnknown;
  // EINVAL is what everything that has no seals says.
  return seals >= 0 && (seals & kSeals) == kSeals ? Seals::kAll : Seals::kNotAll;
}

// createMemory(label, byteLength): anonymous memory that can be sealed.
Napi::Value CreateMemory(const Napi::CallbackInfo& info) {
  const std::string label = info[0].As<Napi::String>().Utf8Value();
  int made = memfd_create(label.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
  if (made < 0 && errno == EINVAL) made = memfd_create(label.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  Descriptor memory(made);
  if (!memory.valid()) throw SystemError(info.Env(), errno, "memfd_create", label);
  if (ftruncate(memory.number(), SizeArgument(info, 1)) != 0) throw SystemError(info.Env(), errno, "ftruncate", label);
  return NewDescriptor(info.Env(), std::move(memory));
}

// fillMemory(memory, source, begin, end, dropBehind): copies a range of the file to the same place; a promise.
Napi::Value FillMemory(const Napi::CallbackInfo& info) {
  return Job::Start(std::make_unique<FillJob>(info.Env(), DescriptorIn(info[0]), DescriptorIn(info[1]),
                                              SizeArgument(info, 2), SizeArgument(info, 3),
                                              info[4].As<Napi::Boolean>().Value()));
}

// sealMemory(memory): nobody can write, grow, shrink or unseal it any more; returns it as a file that can only be read.
Napi::Value SealMemory(const Napi::CallbackInfo& info) {
  const SharedDescriptor memory = DescriptorIn(info[0]);
  if (fcntl(memory->number(), F_ADD_SEALS, kSeals) != 0) throw SystemError(info.Env(), errno, "fcntl", "");
  // Before Linux 6.7, sealed memory can be mapped shared only through a descriptor that was opened for reading.
  Descriptor reader = Reopen(memory->number(), O_RDONLY);
  // Without /proc there is no such descriptor; newer kernels map this one, and older ones say why not.
  return reader.valid() ? NewDescriptor(info.Env(), std::move(reader)) : NewDescriptor(info.Env(), memory);
}

// isSealed(file)
Napi::Value IsSealed(const Napi::CallbackInfo& info) {
  const Seals seals = SealsOf(DescriptorIn(info[0])->number());
  if (seals == Seals::kUnknown) throw SystemError(info.Env(), errno, "fcntl", "");
  return Napi::Boolean::New(info.Env(), seals == Seals::kAll);
}

}  // namespace onecopy
