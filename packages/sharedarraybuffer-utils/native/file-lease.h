#pragma once

#include <napi.h>

namespace onecopy {

Napi::Value TakeLease(const Napi::CallbackInfo& info);
Napi::Value LeaseHolds(const Napi::CallbackInfo& info);

}  // namespace onecopy
