#include "assembled-memory.h"

#include <fcntl.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "copy.h"
#include "descriptor.h"
#include "out-of-memory.h"
#include "system-error.h"

namespace onecopy {
namespace {

constexpr size_t kWindowBytes = 1 << 20;  // one read: it stays in the processor's cache until it is written
// Runs that are less than a page apart are read together: what lies between them is on the pages that they touch.
constexpr size_t kPageBytes = 4096;

struct Run {
  size_t from;
  size_t to;
  size_t length;
};

class Copier {
 public:
  Copier(int memory, int source) : memory_(memory), source_(source), window_(Allocate<uint8_t>(kWindowBytes)), out_(Allocate<uint8_t>(kWindowBytes)) {}

  // The runs rise in the source.
  Failure Copy(const std::vector<Run>& runs) {
    for (size_t next = 0; next < runs.size() && result_.error == 0;) {
      const Run& first = runs[next];
      if (first.length > kWindowBytes) {
        CopyLong(first);
        next++;
        continue;
      }
      size_t end = first.from;
      size_t last = next;
      for (; last < runs.size(); last++) {
        const Run& run = runs[last];
        if (run.from >= end + kPageBytes || run.from + run.length > first.from + kWindowBytes) break;
        end = std::max(end, run.from + run.length);
      }
      if (!Read(first.from, end - first.from)) break;
      for (; next < last; next++) Write(runs[next].to, window_.get() + (runs[next].from - first.from), runs[next].length);
    }
    Flush();
    return result_;
  }

 private:
  void CopyLong(const Run& run) {
    for (size_t done = 0; done < run.length && result_.error == 0;) {
      const size_t length = std::min(kWindowBytes, run.length - done);
      if (!Read(run.from + done, length)) return;
      Write(run.to + done, window_.get(), length);
      done += length;
    }
  }

  bool Read(size_t at, size_t length) {
    result_ = ReadAll(source_, window_.get(), length, at);
    return result_.error == 0;
  }

  // Neighbours in the memory are written together.
  void Write(size_t to, const uint8_t* from, size_t length) {
    if (to != out_at_ + out_length_ || out_length_ + length > kWindowBytes) {
      Flush();
      out_at_ = to;
    }
    memcpy(out_.get() + out_length_, from, length);
    out_length_ += length;
  }

  void Flush() {
    if (result_.error == 0) result_ = WriteAll(memory_, out_.get(), out_length_, out_at_);
    out_length_ = 0;
  }

  int memory_;
  int source_;
  std::unique_ptr<uint8_t[]> window_;
  std::unique_ptr<uint8_t[]> out_;
  size_t out_at_ = 0;
  size_t out_length_ = 0;
  Failure result_;
};

class CopyRunsJob : public Job {
 public:
  CopyRunsJob(Napi::Env env, SharedDescriptor memory, SharedDescriptor source, std::vector<Run> runs, bool drop_behind)
      : Job(env),
        memory_(std::move(memory)),
        source_(std::move(source)),
        runs_(std::move(runs)),
        drop_behind_(drop_behind) {}

 private:
  Failure Work() override {
    const Failure result = Copier(memory_->number(), source_->number()).Copy(runs_);
    if (drop_behind_ && !runs_.empty()) {
      // What stays in the page cache would be a second copy; pages that others have mapped are kept.
      const Run& last = runs_.back();
      posix_fadvise(source_->number(), runs_.front().from, last.from + last.length - runs_.front().from, POSIX_FADV_DONTNEED);
    }
    return result;
  }

  SharedDescriptor memory_;
  SharedDescriptor source_;
  std::vector<Run> runs_;
  bool drop_behind_;
};

}  // namespace

// copyRuns(memory, source, runs, dropBehind): copies runs of bytes, three numbers each: where it begins in the source, where
// in the memory, and its length; they rise in the source. A promise.
Napi::Value CopyRuns(const Napi::CallbackInfo& info) {
  const auto numbers = info[2].As<Napi::Float64Array>();
  std::vector<Run> runs(numbers.ElementLength() / 3);
  for (size_t at = 0; at < runs.size(); at++) {
    runs[at] = {static_cast<size_t>(numbers[at * 3]), static_cast<size_t>(numbers[at * 3 + 1]),
                static_cast<size_t>(numbers[at * 3 + 2])};
  }
  return Job::Start(std::make_unique<CopyRunsJob>(info.Env(), DescriptorIn(info[0]), DescriptorIn(info[1]),
                                                  std::move(runs), info[3].As<Napi::Boolean>().Value()));
}

// expectScattered(file): reads bring in what they ask for and nothing ahead of it.
Napi::Value ExpectScattered(const Napi::CallbackInfo& info) {
  const int error = posix_fadvise(DescriptorIn(info[0])->number(), 0, 0, POSIX_FADV_RANDOM);
  if (error != 0) throw SystemError(info.Env(), error, "posix_fadvise", "");
  return info.Env().Undefined();
}

}  // namespace onecopy
