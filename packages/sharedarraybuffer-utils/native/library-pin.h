#pragma once

namespace onecopy {

// Keeps this library in memory until the process ends.
void PinLibrary();

}  // namespace onecopy
