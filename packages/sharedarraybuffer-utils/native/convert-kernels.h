#pragma once

#include <cstddef>
#include <cstdint>

namespace onecopy {

// The formats by their names in safetensors; C64 is not here, for a complex number is not one float32.
enum class Format : uint8_t {
  kBool, kF4, kF6E2M3, kF6E3M2, kU8, kI8, kF8E5M2, kF8E4M3, kF8E8M0, kF8E4M3FNUZ, kF8E5M2FNUZ,
  kI16, kU16, kF16, kBF16, kI32, kU32, kF32, kF64, kI64, kU64,
};

// Writes `count` float32 to `target` from `count` packed elements at `source`. Neither needs any alignment: a tensor of
// a safetensors file can start at any byte. The two must not overlap.
using Kernel = void (*)(const uint8_t* source, size_t count, uint8_t* target);

// The kernel in plain C++, which every processor can run and which says what the others must give, bit for bit.
Kernel PlainKernel(Format format);

// The kernel for x64 with AVX2 and F16C. Null where this processor lacks them, or where the plain kernel is as fast.
Kernel Avx2Kernel(Format format);

// The kernel for arm64, where every processor has NEON. Null elsewhere, or where the plain kernel is as fast.
Kernel NeonKernel(Format format);

}  // namespace onecopy
