#pragma once

#include <napi.h>

namespace onecopy {

Napi::Value ResidentBytes(const Napi::CallbackInfo& info);
Napi::Value AdviseRange(const Napi::CallbackInfo& info);
Napi::Value EvictMapping(const Napi::CallbackInfo& info);

}  // namespace onecopy
