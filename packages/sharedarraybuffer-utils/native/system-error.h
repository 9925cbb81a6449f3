#pragma once

#include <napi.h>

#include <string>

namespace onecopy {

// A failed system call as JavaScript sees it: an Error with `errno`, `syscall` and `path`. src/addon.ts gives it its
// code and its sentence, so that all words for people stand on one side of the bridge.
inline Napi::Error SystemError(Napi::Env env, int error, const char* syscall, const std::string& path) {
  Napi::Error result = Napi::Error::New(env, std::string(syscall) + " failed");
  Napi::Object fields = result.Value();
  fields.Set("errno", Napi::Number::New(env, error));
  fields.Set("syscall", Napi::String::New(env, syscall));
  fields.Set("path", Napi::String::New(env, path));
  return result;
}

// A path as the kernel takes it: what stands behind a zero byte would be left out without a word.
inline std::string PathArgument(const Napi::CallbackInfo& info, size_t at) {
  std::string path = info[at].As<Napi::String>().Utf8Value();
  if (path.find('\0') == std::string::npos) return path;
  throw Napi::TypeError::New(info.Env(), "A path must not have a zero byte in it");
}

}  // namespace onecopy
