#include "file-lock.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <string>
#include <utility>

#include "descriptor.h"
#include "system-error.h"

namespace onecopy {
namespace {

// The lock of an open file and not of its process: two threads of one process exclude each other, closing another
// descriptor of the file does not end it, and who asks who holds it does not take it (as with flock) for a moment.
struct flock WholeFile(short type) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return lock;
}

// Whether the path still names the file that was locked: who held it before may have removed it.
bool StillNamed(int descriptor, const std::string& path) {
  struct stat locked, named;
  return fstat(descriptor, &locked) == 0 && lstat(path.c_str(), &named) == 0 && locked.st_dev == named.st_dev &&
         locked.st_ino == named.st_ino;
}

}  // namespace

// takeFileLock(path): a descriptor that holds the lock of the file, which is made if it is missing, until it is closed, its
// thread ends or the process dies; null when another holds it.
Napi::Value TakeFileLock(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string path = PathArgument(info, 0);
  for (;;) {
    Descriptor file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666));
    if (!file.valid()) throw SystemError(env, errno, "open", path);
    struct flock lock = WholeFile(F_WRLCK);
    if (fcntl(file.number(), F_OFD_SETLK, &lock) != 0) {
      if (errno == EAGAIN || errno == EACCES) return env.Null();
      throw SystemError(env, errno, "fcntl", path);
    }
    if (StillNamed(file.number(), path)) return NewDescriptor(env, std::move(file));
  }
}

// isFileLocked(path): whether anybody holds the lock of the file.
Napi::Value IsFileLocked(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string path = PathArgument(info, 0);
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file.valid()) throw SystemError(env, errno, "open", path);
  struct flock lock = WholeFile(F_WRLCK);
  if (fcntl(file.number(), F_OFD_GETLK, &lock) != 0) throw SystemError(env, errno, "fcntl", path);
  return Napi::Boolean::New(env, lock.l_type != F_UNLCK);
}

}  // namespace onecopy
