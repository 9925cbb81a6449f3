#include "descriptor.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "close-elsewhere.h"
#include "system-error.h"

namespace onecopy {
namespace {

using Handle = Napi::External<SharedDescriptor>;

SharedDescriptor& OwnerIn(const Napi::Value& handle) { return *handle.As<Handle>().Data(); }

void DropHandle(Napi::Env, SharedDescriptor* descriptor) { delete descriptor; }

}  // namespace

Descriptor::~Descriptor() {
  if (number_ < 0) return;
  // Whoever closes on the way out of a failure tells of that failure.
  const int error = errno;
  if (of_stranger_) CloseElsewhere(number_);
  else close(number_);
  errno = error;
}

int Descriptor::Release() { return std::exchange(number_, -1); }

Descriptor Reopen(int descriptor, int flags) {
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  return Descriptor(open(link.c_str(), flags | O_CLOEXEC));
}

Napi::Value NewDescriptor(Napi::Env env, SharedDescriptor descriptor) {
  auto owner = std::make_unique<SharedDescriptor>(std::move(descriptor));
  // In a thread that is being terminated no value can be made; then this throws, and the owner closes.
  const Handle handle = Handle::New(env, owner.get(), DropHandle);
  owner.release();
  return handle;
}

Napi::Value NewDescriptor(Napi::Env env, Descriptor descriptor) {
  return NewDescriptor(env, std::make_shared<const Descriptor>(std::move(descriptor)));
}

SharedDescriptor DescriptorIn(const Napi::Value& handle) {
  const SharedDescriptor& owner = OwnerIn(handle);
  if (owner == nullptr) throw SystemError(handle.Env(), EBADF, "descriptor", "");
  return owner;
}

SharedDescriptor TakeDescriptor(const Napi::Value& handle) {
  SharedDescriptor owner = DescriptorIn(handle);
  OwnerIn(handle).reset();
  return owner;
}

// openFile(path, flags): flags as open(2) has them; a file that is made is everybody's, but for the umask.
Napi::Value OpenFile(const Napi::CallbackInfo& info) {
  const std::string path = PathArgument(info, 0);
  Descriptor file(open(path.c_str(), info[1].As<Napi::Number>().Int32Value() | O_CLOEXEC, 0666));
  if (!file.valid()) throw SystemError(info.Env(), errno, "open", path);
  return NewDescriptor(info.Env(), std::move(file));
}

// reopenDescriptor(handle, direct): a further open file for reading, past the page cache where `direct`; null where there
// is none to be had.
Napi::Value ReopenDescriptor(const Napi::CallbackInfo& info) {
  const int flags = info[1].As<Napi::Boolean>() ? O_RDONLY | O_DIRECT : O_RDONLY;
  Descriptor file = Reopen(DescriptorIn(info[0])->number(), flags);
  return file.valid() ? NewDescriptor(info.Env(), std::move(file)) : info.Env().Null();
}

// shareDescriptor(handle): a further owner of the same open file.
Napi::Value ShareDescriptor(const Napi::CallbackInfo& info) {
  return NewDescriptor(info.Env(), DescriptorIn(info[0]));
}

// adoptDescriptor(number): takes over one that somebody else opened.
Napi::Value AdoptDescriptor(const Napi::CallbackInfo& info) {
  Descriptor given(info[0].As<Napi::Number>().Int32Value());
  // What a service manager handed over is inherited by children otherwise.
  if (fcntl(given.number(), F_SETFD, FD_CLOEXEC) != 0) {
    given.Release();
    throw SystemError(info.Env(), errno, "fcntl", "");
  }
  return NewDescriptor(info.Env(), std::move(given));
}

// descriptorNumber(handle)
Napi::Value DescriptorNumber(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), DescriptorIn(info[0])->number());
}

// closeDescriptor(handle): idempotent. The file stays open for its other owners.
Napi::Value CloseDescriptor(const Napi::CallbackInfo& info) {
  OwnerIn(info[0]).reset();
  return info.Env().Undefined();
}

}  // namespace onecopy
