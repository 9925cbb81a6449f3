#pragma once

#include <napi.h>

namespace onecopy {

Napi::Value ListenUnix(const Napi::CallbackInfo& info);
Napi::Value ConnectUnix(const Napi::CallbackInfo& info);
Napi::Value SendDatagram(const Napi::CallbackInfo& info);
Napi::Value LockFile(const Napi::CallbackInfo& info);

}  // namespace onecopy
