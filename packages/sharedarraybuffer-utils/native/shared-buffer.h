#pragma once

#include <napi.h>

namespace onecopy {

Napi::Value CreateBuffer(const Napi::CallbackInfo& info);
Napi::Value CopyAligned(const Napi::CallbackInfo& info);
Napi::Value DescribeParts(const Napi::CallbackInfo& info);

}  // namespace onecopy
