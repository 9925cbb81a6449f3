#pragma once

#include <napi.h>

#include <new>

#include "job.h"

namespace onecopy {

// An allocation that fails in a synchronous call is an error of that call, and not the end of the process.
template <Napi::Value (*Call)(const Napi::CallbackInfo&)>
Napi::Value OrNoMemory(const Napi::CallbackInfo& info) {
  try {
    return Call(info);
  } catch (const std::bad_alloc& error) {
    throw ErrorOf(info.Env(), NoMemory(error));
  }
}

template <Napi::Value (*Call)(const Napi::CallbackInfo&)>
void Export(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<OrNoMemory<Call>>(exports.Env(), name));
}

}  // namespace onecopy
