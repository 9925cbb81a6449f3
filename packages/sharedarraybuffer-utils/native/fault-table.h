#pragma once

#include "mapping.h"

namespace onecopy {

// Which addresses belong to which mapping, for the signal handler. The callers of the first two hold the registry's
// mutex.
void AddToFaultTable(Mapping* mapping);
void RemoveFromFaultTable(Mapping* mapping);

// The mapping that holds `address`, or null. Takes no lock: callable from a signal handler.
const Mapping* FindMapping(const void* address);

}  // namespace onecopy
