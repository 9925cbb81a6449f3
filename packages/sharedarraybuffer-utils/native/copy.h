#pragma once

#include <cstddef>
#include <cstdint>

#include "job.h"

namespace onecopy {

// Reads or writes all of it, or says why not; a file that ends too early is ESTALE, with the place in `actual_bytes`.
Failure ReadAll(int source, uint8_t* to, size_t length, size_t offset);
Failure WriteAll(int memory, const uint8_t* from, size_t length, size_t offset);

}  // namespace onecopy
