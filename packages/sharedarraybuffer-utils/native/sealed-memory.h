#pragma once

#include <napi.h>

namespace onecopy {

// Whether a descriptor is memory with all four seals. Unknown, with errno, where a policy refuses the question.
enum class Seals { kAll, kNotAll, kUnknown };
Seals SealsOf(int descriptor);

Napi::Value CreateMemory(const Napi::CallbackInfo& info);
Napi::Value FillMemory(const Napi::CallbackInfo& info);
Napi::Value SealMemory(const Napi::CallbackInfo& info);
Napi::Value IsSealed(const Napi::CallbackInfo& info);

}  // namespace onecopy
