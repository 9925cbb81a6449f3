#pragma once

#include <napi.h>

namespace onecopy {

Napi::Value WatchLeases(const Napi::CallbackInfo& info);
Napi::Value UnwatchLeases(const Napi::CallbackInfo& info);
Napi::Value TakeLease(const Napi::CallbackInfo& info);
Napi::Value LeaseHolds(const Napi::CallbackInfo& info);

}  // namespace onecopy
