#include "library-pin.h"

#include <dlfcn.h>

namespace onecopy {

void PinLibrary() {
  // Node unloads an addon when the last thread that loaded it ends. Our buffers outlive such threads: a worker may post
  // one to the main thread and exit, and the garbage collector would later call a deleter that is no longer there.
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&PinLibrary), &info) != 0 && info.dli_fname != nullptr) {
    dlopen(info.dli_fname, RTLD_NOW | RTLD_NODELETE | RTLD_NOLOAD);
  }
}

}  // namespace onecopy
