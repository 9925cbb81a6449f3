#pragma once

#include <napi.h>

#include <memory>

namespace onecopy {

// An open file of this process, closed with its owner.
class Descriptor {
 public:
  // Takes over what a system call gave; a negative number is a call that failed.
  explicit Descriptor(int number) : number_(number) {}
  // A stranger's file: whoever sent it may have closing it wait as long as he likes, see CloseElsewhere.
  static Descriptor OfStranger(int number) { return Descriptor(number, true); }
  Descriptor(Descriptor&& other) noexcept : number_(other.Release()), of_stranger_(other.of_stranger_) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor();

  bool valid() const { return number_ >= 0; }
  int number() const { return number_; }
  int Release();

 private:
  Descriptor(int number, bool of_stranger) : number_(number), of_stranger_(of_stranger) {}

  int number_;
  bool of_stranger_ = false;
};

// What several owners have: JavaScript's handles, mappings, and jobs while they run.
using SharedDescriptor = std::shared_ptr<const Descriptor>;

// The same file as a further open file, with an offset, flags and advice of its own. Where it cannot be had (no /proc, a
// file of another user), it is not valid and errno says why.
Descriptor Reopen(int descriptor, int flags);

// A handle for JavaScript. The garbage collector closes what close() did not, and so does the end of the thread, at
// whatever moment it comes: no number ever leaves native code without an owner.
Napi::Value NewDescriptor(Napi::Env env, Descriptor descriptor);
Napi::Value NewDescriptor(Napi::Env env, SharedDescriptor descriptor);

// The open file behind a handle; throws when it was closed.
SharedDescriptor DescriptorIn(const Napi::Value& handle);

// The same, and the handle is closed: its file belongs to the caller alone.
SharedDescriptor TakeDescriptor(const Napi::Value& handle);

Napi::Value OpenFile(const Napi::CallbackInfo& info);
Napi::Value ReopenDescriptor(const Napi::CallbackInfo& info);
Napi::Value ShareDescriptor(const Napi::CallbackInfo& info);
Napi::Value AdoptDescriptor(const Napi::CallbackInfo& info);
Napi::Value DescriptorNumber(const Napi::CallbackInfo& info);
Napi::Value CloseDescriptor(const Napi::CallbackInfo& info);

}  // namespace onecopy
