#include "unix-socket.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "job.h"
#include "system-error.h"

namespace onecopy {
namespace {

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59  // Linux 4.13
#endif

constexpr size_t kMaxDescriptors = 253;  // SCM_MAX_FD: the kernel's limit for one message

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

// As with the addon's functions, see exports.h.
template <Napi::Value (UnixSocket::*Method)(const Napi::CallbackInfo&)>
Napi::Value UnixSocket::OrNoMemory(const Napi::CallbackInfo& info) {
  try {
    return (this->*Method)(info);
  } catch (const std::bad_alloc& error) {
    throw ErrorOf(info.Env(), NoMemory(error));
  }
}

Napi::Function UnixSocket::Define(Napi::Env env) {
  return DefineClass(env, "UnixSocket",
                     {InstanceMethod<&UnixSocket::OrNoMemory<&UnixSocket::Watch>>("watch"),
                      InstanceMethod<&UnixSocket::OrNoMemory<&UnixSocket::Send>>("send"),
                      InstanceMethod<&UnixSocket::OrNoMemory<&UnixSocket::Receive>>("receive"),
                      InstanceMethod<&UnixSocket::OrNoMemory<&UnixSocket::Accept>>("accept"),
                      InstanceMethod<&UnixSocket::OrNoMemory<&UnixSocket::Peer>>("peer"),
                      InstanceMethod<&UnixSocket::OrNoMemory<&UnixSocket::IsRead>>("isRead"),
                      InstanceMethod<&UnixSocket::Close>("close"),
                      InstanceMethod<&UnixSocket::SetReferenced>("setReferenced")});
}

// new UnixSocket(file, onReady(readable, writable), withStranger): takes the file over.
UnixSocket::UnixSocket(const Napi::CallbackInfo& info)
    : ObjectWrap(info),
      with_stranger_(info[2].ToBoolean()),
      on_ready_(Napi::Persistent(info[1].As<Napi::Function>())),
      context_(info.Env(), "onecopy:socket") {
  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(info.Env(), &loop);
  auto watcher = std::make_unique<Watcher>();
  watcher->descriptor = TakeDescriptor(info[0]);
  watcher->socket = this;
  const int error = uv_poll_init(loop, &watcher->poll, watcher->descriptor->number());
  if (error != 0) throw SystemError(info.Env(), -error, "epoll_ctl", "");
  watcher->poll.data = watcher.get();
  watcher_ = watcher.release();
  cleanup_env_ = info.Env();
  // A thread that ends without closing: the loop must not find a watcher whose object is gone.
  napi_add_env_cleanup_hook(cleanup_env_, OnThreadEnd, this);
  // Kept alive by the loop, not by whoever happens to hold the object.
  Ref();
}

void UnixSocket::OnThreadEnd(void* self) { static_cast<UnixSocket*>(self)->Stop(); }

void UnixSocket::Stop() {
  if (watcher_ == nullptr) return;
  Watcher* watcher = watcher_;
  watcher_ = nullptr;
  watcher->socket = nullptr;
  uv_poll_stop(&watcher->poll);
  watcher->descriptor.reset();
  uv_close(reinterpret_cast<uv_handle_t*>(&watcher->poll),
           [](uv_handle_t* handle) { delete static_cast<Watcher*>(handle->data); });
}

int UnixSocket::Number(Napi::Env env) const {
  if (watcher_ == nullptr) throw SystemError(env, EBADF, "socket", "");
  return watcher_->descriptor->number();
}

void UnixSocket::OnReady(uv_poll_t* poll, int status, int events) {
  UnixSocket* self = static_cast<Watcher*>(poll->data)->socket;
  if (self == nullptr) return;
  Napi::Env env = self->Env();
  Napi::HandleScope scope(env);
  // An error makes the socket readable: the next receive() tells what it is.
  const bool readable = status != 0 || (events & UV_READABLE) != 0;
  const bool writable = (events & UV_WRITABLE) != 0;
  // The callback may close the socket, so nothing of it is used once the callback runs: not its function, not itself.
  const Napi::Function on_ready = self->on_ready_.Value();
  const Napi::Object receiver = self->Value();
  try {
    on_ready.MakeCallback(receiver, {Napi::Boolean::New(env, readable), Napi::Boolean::New(env, writable)}, self->context_);
  } catch (const Napi::Error& error) {
    // What a handler throws is the program's uncaught exception; as a C++ exception it would end the process mutely.
    napi_fatal_exception(env, error.Value());
  }
}

// watch(readable, writable): what onReady is called for.
Napi::Value UnixSocket::Watch(const Napi::CallbackInfo& info) {
  Number(info.Env());
  const int events = (info[0].As<Napi::Boolean>() ? UV_READABLE : 0) | (info[1].As<Napi::Boolean>() ? UV_WRITABLE : 0);
  const int error = events == 0 ? uv_poll_stop(&watcher_->poll) : uv_poll_start(&watcher_->poll, events, OnReady);
  if (error != 0) throw SystemError(info.Env(), -error, "epoll_ctl", "");
  return info.Env().Undefined();
}

// send(bytes, descriptors): how many bytes went out, 0 when the socket is full. The descriptors go with the first byte.
Napi::Value UnixSocket::Send(const Napi::CallbackInfo& info) {
  auto bytes = info[0].As<Napi::Uint8Array>();
  auto descriptors = info[1].As<Napi::Array>();
  iovec part = {bytes.Data(), bytes.ByteLength()};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  const uint32_t count = descriptors.Length();
  if (count > kMaxDescriptors) throw SystemError(info.Env(), EINVAL, "sendmsg", "");
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxDescriptors * sizeof(int))] = {};
  if (count > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    for (uint32_t i = 0; i < count; i++) {
      const int descriptor = DescriptorIn(descriptors[i])->number();
      memcpy(CMSG_DATA(header) + i * sizeof descriptor, &descriptor, sizeof descriptor);
    }
  }
  const ssize_t sent = sendmsg(Number(info.Env()), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0 && !WouldBlock()) throw SystemError(info.Env(), errno, "sendmsg", "");
  return Napi::Number::New(info.Env(), static_cast<double>(sent < 0 ? 0 : sent));
}

// receive(bytes): { byteLength, descriptors }, or null when there is nothing yet. byteLength 0 is the end.
Napi::Value UnixSocket::Receive(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto bytes = info[0].As<Napi::Uint8Array>();
  iovec part = {bytes.Data(), bytes.ByteLength()};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxDescriptors * sizeof(int))];
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  // Made before there is anything to own: from then on nothing may fail until all that came has its owner.
  std::vector<Descriptor> received;
  received.reserve(kMaxDescriptors);
  const ssize_t got = recvmsg(Number(env), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (got < 0 && WouldBlock()) return env.Null();
  if (got < 0) throw SystemError(env, errno, "recvmsg", "");
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int number;
      memcpy(&number, CMSG_DATA(header) + i * sizeof number, sizeof number);
      received.push_back(with_stranger_ ? Descriptor::OfStranger(number) : Descriptor(number));
    }
  }
  // The kernel drops descriptors that this process has no room for, and says so only here.
  if ((message.msg_flags & MSG_CTRUNC) != 0) throw SystemError(env, EMFILE, "recvmsg", "");
  Napi::Array descriptors = Napi::Array::New(env, received.size());
  for (size_t i = 0; i < received.size(); i++) descriptors[i] = NewDescriptor(env, std::move(received[i]));
  Napi::Object result = Napi::Object::New(env);
  result.Set("byteLength", Napi::Number::New(env, static_cast<double>(got)));
  result.Set("descriptors", descriptors);
  return result;
}

// accept(): the next connection, or null when none waits.
Napi::Value UnixSocket::Accept(const Napi::CallbackInfo& info) {
  Descriptor accepted(accept4(Number(info.Env()), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (accepted.valid()) return NewDescriptor(info.Env(), std::move(accepted));
  if (WouldBlock() || errno == ECONNABORTED) return info.Env().Null();
  throw SystemError(info.Env(), errno, "accept4", "");
}

// The other end's supplementary groups; none where the kernel does not tell (before Linux 4.13).
static std::vector<gid_t> PeerGroups(int descriptor) {
  std::vector<gid_t> groups(32);
  for (;;) {
    socklen_t length = groups.size() * sizeof(gid_t);
    const bool told = getsockopt(descriptor, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &length) == 0;
    if (!told && errno != ERANGE) return {};
    groups.resize(length / sizeof(gid_t));
    if (told) return groups;
  }
}

// peer(): who is at the other end, as the kernel knows it.
Napi::Value UnixSocket::Peer(const Napi::CallbackInfo& info) {
  ucred peer = {};
  socklen_t length = sizeof peer;
  if (getsockopt(Number(info.Env()), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) {
    throw SystemError(info.Env(), errno, "getsockopt", "");
  }
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("pid", Napi::Number::New(info.Env(), peer.pid));
  result.Set("uid", Napi::Number::New(info.Env(), peer.uid));
  result.Set("gid", Napi::Number::New(info.Env(), peer.gid));
  const std::vector<gid_t> groups = PeerGroups(Number(info.Env()));
  Napi::Array list = Napi::Array::New(info.Env(), groups.size());
  for (size_t i = 0; i < groups.size(); i++) list[i] = Napi::Number::New(info.Env(), groups[i]);
  result.Set("groups", list);
  return result;
}

// isRead(): whether the other end has taken everything that was sent to it, and so all descriptors.
Napi::Value UnixSocket::IsRead(const Napi::CallbackInfo& info) {
  int unread = 0;
  if (ioctl(Number(info.Env()), SIOCOUTQ, &unread) != 0) throw SystemError(info.Env(), errno, "ioctl", "");
  return Napi::Boolean::New(info.Env(), unread == 0);
}

// close(): idempotent.
Napi::Value UnixSocket::Close(const Napi::CallbackInfo& info) {
  if (watcher_ != nullptr) {
    napi_remove_env_cleanup_hook(cleanup_env_, OnThreadEnd, this);
    Stop();
    on_ready_.Reset();
    Unref();
  }
  return info.Env().Undefined();
}

// setReferenced(yes): whether this socket keeps the process alive.
void UnixSocket::SetReferenced(const Napi::CallbackInfo& info) {
  if (watcher_ == nullptr) return;
  auto* handle = reinterpret_cast<uv_handle_t*>(&watcher_->poll);
  if (info[0].As<Napi::Boolean>()) uv_ref(handle);
  else uv_unref(handle);
}

}  // namespace onecopy
