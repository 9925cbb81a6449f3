#include "copy-job.h"

#include <unistd.h>

#include <cerrno>

#include "system-error.h"

namespace onecopy {

CopyResult ReadAll(int source, uint8_t* to, size_t length, size_t offset) {
  for (size_t done = 0; done < length;) {
    const ssize_t got = pread(source, to + done, length - done, offset + done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return {errno, "pread"};
    if (got == 0) return {ESTALE, "pread", static_cast<int64_t>(offset + done)};  // it was longer before
    done += got;
  }
  return {};
}

CopyResult WriteAll(int memory, const uint8_t* from, size_t length, size_t offset) {
  for (size_t done = 0; done < length;) {
    const ssize_t wrote = pwrite(memory, from + done, length - done, offset + done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return {errno, "pwrite"};
    done += wrote;
  }
  return {};
}

Napi::Promise CopyJob::Start(CopyJob* job) {
  const Napi::Promise promise = job->deferred_.Promise();
  job->Queue();
  return promise;
}

void CopyJob::OnOK() {
  if (result_.error == 0) {
    deferred_.Resolve(Env().Undefined());
    return;
  }
  Napi::Error error = SystemError(Env(), result_.error, result_.syscall, "");
  if (result_.ended_at >= 0) {
    error.Value().Set("actualBytes", Napi::Number::New(Env(), static_cast<double>(result_.ended_at)));
  }
  deferred_.Reject(error.Value());
}

}  // namespace onecopy
