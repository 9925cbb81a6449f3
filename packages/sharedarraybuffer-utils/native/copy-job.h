#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>

namespace onecopy {

// What came of copying a file's bytes into memory.
struct CopyResult {
  int error = 0;
  const char* syscall = "";
  int64_t ended_at = -1;  // where the file ended too early, in bytes; an error number could be the file system's own
};

// Reads or writes all of it, or says why not.
CopyResult ReadAll(int source, uint8_t* to, size_t length, size_t offset);
CopyResult WriteAll(int memory, const uint8_t* from, size_t length, size_t offset);

// Copies on a thread of the pool; its promise rejects with errno, syscall and actualBytes.
class CopyJob : public Napi::AsyncWorker {
 public:
  explicit CopyJob(Napi::Env env) : AsyncWorker(env), deferred_(env) {}

  // The job deletes itself when it is done.
  static Napi::Promise Start(CopyJob* job);

 protected:
  virtual CopyResult Copy() = 0;
  void Execute() override { result_ = Copy(); }
  void OnOK() override;

 private:
  Napi::Promise::Deferred deferred_;
  CopyResult result_;
};

}  // namespace onecopy
