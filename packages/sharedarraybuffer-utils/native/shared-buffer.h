#pragma once

#include <napi.h>

namespace onecopy {

Napi::Value CreateBuffer(const Napi::CallbackInfo& info);
Napi::Value AskForCollection(const Napi::CallbackInfo& info);
Napi::Value CopyAligned(const Napi::CallbackInfo& info);
Napi::Value DescribeParts(const Napi::CallbackInfo& info);

// Gives memory of mmap to a SharedArrayBuffer, which unmaps it with its last holder in any thread.
Napi::Value ShareMemory(Napi::Env env, uint8_t* base, size_t byte_length);

}  // namespace onecopy
