#include "file-lock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>

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

struct FileLock {
  int descriptor;
};

// Also when the thread that holds the lock is terminated.
void DropFileLock(Napi::Env, FileLock* lock) {
  if (lock->descriptor >= 0) close(lock->descriptor);
  delete lock;
}

// Whether the path still names the file that was locked: who held it before may have removed it.
bool StillNamed(int descriptor, const std::string& path) {
  struct stat locked, named;
  return fstat(descriptor, &locked) == 0 && lstat(path.c_str(), &named) == 0 && locked.st_dev == named.st_dev &&
         locked.st_ino == named.st_ino;
}

}  // namespace

// takeFileLock(path): a handle that holds the lock of the file, which is made if it is missing, until it is released, its
// thread ends or the process dies; null when another holds it.
Napi::Value TakeFileLock(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string path = info[0].As<Napi::String>().Utf8Value();
  for (;;) {
    const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (descriptor < 0) throw SystemError(env, errno, "open", path);
    struct flock lock = WholeFile(F_WRLCK);
    if (fcntl(descriptor, F_OFD_SETLK, &lock) != 0) {
      const int error = errno;
      close(descriptor);
      if (error == EAGAIN || error == EACCES) return env.Null();
      throw SystemError(env, error, "fcntl", path);
    }
    if (StillNamed(descriptor, path)) {
      return Napi::External<FileLock>::New(env, new FileLock{descriptor}, DropFileLock);
    }
    close(descriptor);
  }
}

// releaseFileLock(handle): idempotent.
Napi::Value ReleaseFileLock(const Napi::CallbackInfo& info) {
  auto* lock = info[0].As<Napi::External<FileLock>>().Data();
  if (lock->descriptor >= 0) close(lock->descriptor);
  lock->descriptor = -1;
  return info.Env().Undefined();
}

// isFileLocked(path): whether anybody holds the lock of the file.
Napi::Value IsFileLocked(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string path = info[0].As<Napi::String>().Utf8Value();
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (descriptor < 0) throw SystemError(env, errno, "open", path);
  struct flock lock = WholeFile(F_WRLCK);
  const int result = fcntl(descriptor, F_OFD_GETLK, &lock);
  const int error = errno;
  close(descriptor);
  if (result != 0) throw SystemError(env, error, "fcntl", path);
  return Napi::Boolean::New(env, lock.l_type != F_UNLCK);
}

}  // namespace onecopy
