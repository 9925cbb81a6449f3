#pragma once

#include <napi.h>

namespace onecopy {

// Whether a descriptor is memory with all four seals; false for anything else.
bool IsSealed(int descriptor);

Napi::Value CreateMemory(const Napi::CallbackInfo& info);
Napi::Value FillMemory(const Napi::CallbackInfo& info);
Napi::Value SealMemory(const Napi::CallbackInfo& info);
Napi::Value SealsOf(const Napi::CallbackInfo& info);

}  // namespace onecopy
