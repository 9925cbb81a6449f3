#pragma once

#include <napi.h>

namespace onecopy {

Napi::Value MemoryLimits(const Napi::CallbackInfo& info);

}  // namespace onecopy
