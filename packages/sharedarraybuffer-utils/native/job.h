#pragma once

#include <napi.h>

#include <memory>
#include <string>

namespace onecopy {

// What a system call said; no error is success.
struct Failure {
  int error = 0;
  const char* syscall = "";
  std::string path = {};
  int64_t actual_bytes = -1;  // what was found, or wanted and not to be had, where the size is what failed
};

// Work on a thread of the pool, with a promise that always settles: also when there is no memory for the work, or for what
// it has to say. What it works on it owns, so that it needs no JavaScript object, and no thread, to stay.
class Job : public Napi::AsyncWorker {
 public:
  static Napi::Promise Start(std::unique_ptr<Job> job);

 protected:
  explicit Job(Napi::Env env) : AsyncWorker(env), deferred_(env) {}

  virtual Failure Work() = 0;
  virtual Napi::Value Result(Napi::Env env) { return env.Undefined(); }

 private:
  void Execute() final;
  void OnOK() final;
  void OnError(const Napi::Error& error) final;

  Napi::Promise::Deferred deferred_;
  Failure failure_;
};

// As JavaScript sees it: an Error with `errno`, `syscall`, `path` and `actualBytes`.
Napi::Error ErrorOf(Napi::Env env, const Failure& failure);

// The failure of an allocation, by the name of a system call that nobody can mistake for another.
Failure NoMemory(const std::bad_alloc& error);

}  // namespace onecopy
