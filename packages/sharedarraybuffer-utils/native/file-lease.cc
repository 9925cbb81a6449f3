#include "file-lease.h"

#include <fcntl.h>

#include <cerrno>
#include <utility>

#include "descriptor.h"
#include "system-error.h"

namespace onecopy {

// takeLease(file): from now on whoever opens the file for writing, or cuts it, waits until what is returned is closed or
// the kernel's patience ends, and this process gets SIGIO meanwhile.
Napi::Value TakeLease(const Napi::CallbackInfo& info) {
  // An open file of its own: a lease belongs to the open file, and others may hold the caller's.
  Descriptor file = Reopen(DescriptorIn(info[0])->number(), O_RDONLY);
  if (!file.valid()) throw SystemError(info.Env(), errno, "open", "");
  if (fcntl(file.number(), F_SETLEASE, F_RDLCK) != 0) throw SystemError(info.Env(), errno, "fcntl", "");
  return NewDescriptor(info.Env(), std::move(file));
}

// leaseHolds(lease): false once a writer waits for it.
Napi::Value LeaseHolds(const Napi::CallbackInfo& info) {
  const int state = fcntl(DescriptorIn(info[0])->number(), F_GETLEASE);
  return Napi::Boolean::New(info.Env(), state == F_RDLCK);
}

}  // namespace onecopy
