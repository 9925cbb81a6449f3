#include "memory-limits.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22  // Linux 5.14; older headers lack the name
#endif

namespace onecopy {

// memoryLimits(): what this kernel and process allow.
Napi::Value MemoryLimits(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const size_t page = sysconf(_SC_PAGESIZE);
  void* probe = mmap(nullptr, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const bool populate = probe != MAP_FAILED && madvise(probe, page, MADV_POPULATE_READ) == 0;
  if (probe != MAP_FAILED) munmap(probe, page);
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
  result.Set("pageBytes", Napi::Number::New(env, static_cast<double>(page)));
  result.Set("populateRead", Napi::Boolean::New(env, populate));
  result.Set("sealing", Napi::Boolean::New(env, sealed >= 0));
  result.Set("lockLimitBytes", limit(limit_of(RLIMIT_MEMLOCK)));
  result.Set("addressSpaceLimitBytes", limit(limit_of(RLIMIT_AS)));
  result.Set("descriptorLimit", Napi::Number::New(env, static_cast<double>(limit_of(RLIMIT_NOFILE))));
  return result;
}

}  // namespace onecopy
