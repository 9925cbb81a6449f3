#pragma once

#include <napi.h>

namespace onecopy {

Napi::Value CopyRuns(const Napi::CallbackInfo& info);
Napi::Value ExpectScattered(const Napi::CallbackInfo& info);

}  // namespace onecopy
