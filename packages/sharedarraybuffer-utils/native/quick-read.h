#pragma once

#include <napi.h>

namespace onecopy {

Napi::Value ReadCheckpoint(const Napi::CallbackInfo& info);

}  // namespace onecopy
