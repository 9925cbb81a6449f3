#include "job.h"

#include <cerrno>

#include "out-of-memory.h"
#include "system-error.h"

namespace onecopy {

Napi::Error ErrorOf(Napi::Env env, const Failure& failure) {
  Napi::Error error = SystemError(env, failure.error, failure.syscall, failure.path);
  if (failure.actual_bytes >= 0) {
    error.Value().Set("actualBytes", Napi::Number::New(env, static_cast<double>(failure.actual_bytes)));
  }
  return error;
}

Failure NoMemory(const std::bad_alloc& error) {
  return {ENOMEM, "malloc", "", static_cast<int64_t>(BytesOf(error))};
}

Napi::Promise Job::Start(std::unique_ptr<Job> job) {
  const Napi::Promise promise = job->deferred_.Promise();
  job->Queue();
  job.release();  // it deletes itself when it is done
  return promise;
}

void Job::Execute() {
  try {
    failure_ = Work();
  } catch (const std::bad_alloc& error) {
    failure_ = NoMemory(error);
  }
}

void Job::OnOK() {
  try {
    if (failure_.error == 0) return deferred_.Resolve(Result(Env()));
  } catch (const std::bad_alloc& error) {
    failure_ = NoMemory(error);
  }
  deferred_.Reject(ErrorOf(Env(), failure_).Value());
}

void Job::OnError(const Napi::Error& error) { deferred_.Reject(error.Value()); }

}  // namespace onecopy
