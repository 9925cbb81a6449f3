#include "socket-files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>

#include "descriptor.h"
#include "system-error.h"

namespace onecopy {
namespace {

// A path longer than sun_path cannot be a socket's address; src/unix-socket.ts says so in words.
bool FillAddress(const std::string& path, sockaddr_un* address) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  if (path.size() >= sizeof address->sun_path) return false;
  memcpy(address->sun_path, path.c_str(), path.size());
  return true;
}

Napi::Value OpenSocket(const Napi::CallbackInfo& info, bool listening) {
  const std::string path = PathArgument(info, 0);
  sockaddr_un address;
  if (!FillAddress(path, &address)) throw SystemError(info.Env(), ENAMETOOLONG, "bind", path);
  Descriptor opened(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int descriptor = opened.number();
  if (!opened.valid()) throw SystemError(info.Env(), errno, "socket", path);
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  const char* syscall = listening ? "bind" : "connect";
  int result;
  if (listening) {
    // The socket's file gets this mode (less the umask) in bind itself: there is no moment when more people may connect.
    fchmod(descriptor, info[1].As<Napi::Number>().Uint32Value());
    result = bind(descriptor, generic, sizeof address);
    if (result == 0) {
      syscall = "listen";
      result = listen(descriptor, info[2].As<Napi::Number>().Int32Value());
    }
  } else {
    result = connect(descriptor, generic, sizeof address);
  }
  if (result != 0) throw SystemError(info.Env(), errno, syscall, path);
  return NewDescriptor(info.Env(), std::move(opened));
}

}  // namespace

// listenUnix(path, mode, backlog): a listening socket.
Napi::Value ListenUnix(const Napi::CallbackInfo& info) { return OpenSocket(info, true); }

// connectUnix(path): a connected socket; EAGAIN when the listener's queue is full.
Napi::Value ConnectUnix(const Napi::CallbackInfo& info) { return OpenSocket(info, false); }

// sendDatagram(path, text): one datagram, as sd_notify sends it; a path that begins with @ is an abstract address.
Napi::Value SendDatagram(const Napi::CallbackInfo& info) {
  const std::string path = PathArgument(info, 0);
  const std::string text = info[1].As<Napi::String>().Utf8Value();
  sockaddr_un address;
  if (!FillAddress(path, &address)) throw SystemError(info.Env(), ENAMETOOLONG, "sendto", path);
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  const Descriptor socket_file(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket_file.valid()) throw SystemError(info.Env(), errno, "socket", path);
  const socklen_t length = offsetof(sockaddr_un, sun_path) + path.size();
  const ssize_t sent = sendto(socket_file.number(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                              reinterpret_cast<const sockaddr*>(&address), length);
  if (sent < 0) throw SystemError(info.Env(), errno, "sendto", path);
  return info.Env().Undefined();
}

// lockFile(path): what holds the file's lock until it is closed; null when somebody else holds it.
Napi::Value LockFile(const Napi::CallbackInfo& info) {
  const std::string path = PathArgument(info, 0);
  Descriptor file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.valid()) throw SystemError(info.Env(), errno, "open", path);
  if (flock(file.number(), LOCK_EX | LOCK_NB) == 0) return NewDescriptor(info.Env(), std::move(file));
  if (errno != EWOULDBLOCK) throw SystemError(info.Env(), errno, "flock", path);
  return info.Env().Null();
}

}  // namespace onecopy
