#pragma once

#include <napi.h>
#include <uv.h>

#include "descriptor.h"

namespace onecopy {

// A unix stream socket that also carries descriptors, which node's own sockets drop. It does no buffering and knows no
// messages: src/unix-socket.ts reads and writes when `onReady` says so.
class UnixSocket : public Napi::ObjectWrap<UnixSocket> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit UnixSocket(const Napi::CallbackInfo& info);

 private:
  template <Napi::Value (UnixSocket::*Method)(const Napi::CallbackInfo&)>
  Napi::Value OrNoMemory(const Napi::CallbackInfo& info);
  Napi::Value Watch(const Napi::CallbackInfo& info);
  Napi::Value Send(const Napi::CallbackInfo& info);
  Napi::Value Receive(const Napi::CallbackInfo& info);
  Napi::Value Accept(const Napi::CallbackInfo& info);
  Napi::Value Peer(const Napi::CallbackInfo& info);
  Napi::Value IsRead(const Napi::CallbackInfo& info);
  Napi::Value Close(const Napi::CallbackInfo& info);
  void SetReferenced(const Napi::CallbackInfo& info);

  int Number(Napi::Env env) const;
  void Stop();
  static void OnThreadEnd(void* self);
  static void OnReady(uv_poll_t* poll, int status, int events);

  // The watcher outlives this object by one turn of the loop: libuv frees it after closing.
  struct Watcher {
    uv_poll_t poll;
    SharedDescriptor descriptor;
    UnixSocket* socket;
  };
  Watcher* watcher_ = nullptr;
  const bool with_stranger_;
  Napi::FunctionReference on_ready_;
  Napi::AsyncContext context_;
  napi_env cleanup_env_ = nullptr;
};

}  // namespace onecopy
