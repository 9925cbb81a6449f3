// The kernel says by a signal that a writer waits for a lease: by default SIGIO to the process, which ends by it where it has
// no handler, and in threads node has none. So it is another signal that goes to a thread of ours alone, which waits for it:
// leases work in every thread, and a SIGIO that somebody else wants is nothing to us.
#include "file-lease.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <future>
#include <mutex>
#include <set>
#include <system_error>
#include <thread>
#include <utility>

#include "descriptor.h"
#include "system-error.h"

namespace onecopy {
namespace {

// One for each thread that has leases.
struct Watch {
  Napi::ThreadSafeFunction wake;
};

struct Watches {
  std::mutex mutex;
  std::set<Watch*> open;
};

Watches& TheWatches() {
  static Watches* watches = new Watches;  // never destroyed: the listener goes on while the process exits
  return *watches;
}

void WakeAll() {
  Watches& watches = TheWatches();
  std::lock_guard lock(watches.mutex);
  // One call that waits is enough for any number of signals: it looks at all leases.
  for (Watch* watch : watches.open) watch->wake.NonBlockingCall();
}

const int kSignal = SIGRTMAX - 1;  // node and libuv use none of the real-time signals

void Listen(std::promise<pid_t> begun) {
  sigset_t all, own, pending;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  sigemptyset(&own);
  sigaddset(&own, kSignal);
  begun.set_value(static_cast<pid_t>(syscall(SYS_gettid)));
  for (;;) {
    const timespec patience = {1, 0};
    const bool heard = sigtimedwait(&own, nullptr, &patience) == kSignal;
    // The kernel sends SIGIO after all when this user has as many signals waiting as RLIMIT_SIGPENDING allows.
    if (heard || (sigpending(&pending) == 0 && sigismember(&pending, SIGIO))) WakeAll();
  }
}

// The thread that hears of writers, begun with the first lease of the process; 0 where there can be no further thread.
pid_t TheListener() {
  static std::mutex mutex;
  static pid_t listener = 0;
  std::lock_guard lock(mutex);
  if (listener != 0) return listener;
  try {
    std::promise<pid_t> begun;
    std::future<pid_t> thread = begun.get_future();
    std::thread(Listen, std::move(begun)).detach();
    listener = thread.get();
  } catch (const std::system_error&) {
  }
  return listener;
}

}  // namespace

// watchLeases(callback): calls it on this thread soon after a writer began to wait for any lease of this process, until
// unwatchLeases or the thread's end. It does not keep the thread alive.
Napi::Value WatchLeases(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto watch = std::make_unique<Watch>();
  Watch* const opened = watch.get();
  watch->wake = Napi::ThreadSafeFunction::New(env, info[0].As<Napi::Function>(), "onecopy:leases", 1, 1, [opened](Napi::Env) {
    std::lock_guard lock(TheWatches().mutex);
    TheWatches().open.erase(opened);
    delete opened;
  });
  watch.release();
  opened->wake.Unref(env);
  std::lock_guard lock(TheWatches().mutex);
  TheWatches().open.insert(opened);
  return Napi::External<Watch>::New(env, opened);
}

// unwatchLeases(watch): to be called once.
Napi::Value UnwatchLeases(const Napi::CallbackInfo& info) {
  auto* watch = info[0].As<Napi::External<Watch>>().Data();
  {
    std::lock_guard lock(TheWatches().mutex);
    TheWatches().open.erase(watch);
  }
  watch->wake.Release();
  return info.Env().Undefined();
}

// takeLease(file): from now on whoever opens the file for writing, or cuts it, waits until what is returned is closed or
// the kernel's patience ends, and those who watch leases are called.
Napi::Value TakeLease(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const pid_t listener = TheListener();
  if (listener == 0) throw SystemError(env, EAGAIN, "pthread_create", "");
  // An open file of its own: a lease belongs to the open file, and others may hold the caller's.
  Descriptor file = Reopen(DescriptorIn(info[0])->number(), O_RDONLY);
  if (!file.valid()) throw SystemError(env, errno, "open", "");
  // Before the lease is taken: there must be no moment when the signal would go to the process.
  const f_owner_ex owner = {F_OWNER_TID, listener};
  const bool owned = fcntl(file.number(), F_SETOWN_EX, &owner) == 0 && fcntl(file.number(), F_SETSIG, kSignal) == 0;
  if (!owned || fcntl(file.number(), F_SETLEASE, F_RDLCK) != 0) throw SystemError(env, errno, "fcntl", "");
  return NewDescriptor(env, std::move(file));
}

// leaseHolds(lease): false once a writer waits for it.
Napi::Value LeaseHolds(const Napi::CallbackInfo& info) {
  const int state = fcntl(DescriptorIn(info[0])->number(), F_GETLEASE);
  return Napi::Boolean::New(info.Env(), state == F_RDLCK);
}

}  // namespace onecopy
