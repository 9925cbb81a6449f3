#include "file-lease.h"

#include <fcntl.h>

#include <cerrno>

#include "system-error.h"

namespace onecopy {

// takeLease(descriptor): from now on whoever opens the file for writing, or cuts it, waits until this descriptor is
// closed or the kernel's patience ends, and this process gets SIGIO meanwhile.
Napi::Value TakeLease(const Napi::CallbackInfo& info) {
  const int descriptor = info[0].As<Napi::Number>().Int32Value();
  if (fcntl(descriptor, F_SETLEASE, F_RDLCK) != 0) throw SystemError(info.Env(), errno, "fcntl", "");
  return info.Env().Undefined();
}

// leaseHolds(descriptor): false once a writer waits for it.
Napi::Value LeaseHolds(const Napi::CallbackInfo& info) {
  const int state = fcntl(info[0].As<Napi::Number>().Int32Value(), F_GETLEASE);
  return Napi::Boolean::New(info.Env(), state == F_RDLCK);
}

}  // namespace onecopy
