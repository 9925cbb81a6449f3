#pragma once

namespace onecopy {

// Installs, once a process, the handler that explains a fault inside a mapping before the process dies of it.
void InstallFaultReport();

// Gives the calling thread a signal stack of its own, unless it has one.
void UseSignalStack();

}  // namespace onecopy
