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

}  // namespace onecopy
