#pragma once

#include <napi.h>

namespace onecopy {

Napi::Value TakeFileLock(const Napi::CallbackInfo& info);
Napi::Value IsFileLocked(const Napi::CallbackInfo& info);

}  // namespace onecopy
