#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

// Loops that are written once and compiled for each instruction set. All of it is inlined by force, so that a caller
// with a target attribute gets it in its own instructions, and nothing is emitted for two processors under one name.
#define ONECOPY_INLINE inline __attribute__((always_inline))

namespace onecopy {

static_assert(std::endian::native == std::endian::little, "elements are read as they lie in the file");

// Elements in a block. A fixed count and local arrays, which alias nothing, are what lets -O2 vectorize the loop.
inline constexpr size_t kBlock = 16;

template <typename Element, typename Convert>
ONECOPY_INLINE void ConvertEach(const uint8_t* source, size_t count, uint8_t* target, Convert convert) {
  size_t index = 0;
  for (; index + kBlock <= count; index += kBlock) {
    Element elements[kBlock];
    uint32_t floats[kBlock];
    std::memcpy(elements, source + index * sizeof(Element), sizeof(elements));
    for (size_t lane = 0; lane < kBlock; lane++) floats[lane] = convert(elements[lane]);
    std::memcpy(target + index * sizeof(uint32_t), floats, sizeof(floats));
  }
  for (; index < count; index++) {
    Element element;
    std::memcpy(&element, source + index * sizeof(Element), sizeof(element));
    const uint32_t bits = convert(element);
    std::memcpy(target + index * sizeof(uint32_t), &bits, sizeof(bits));
  }
}

// bfloat16 is the upper half of a float32. Only bits move, so a signalling NaN stays one.
struct FromBFloat16 {
  ONECOPY_INLINE uint32_t operator()(uint16_t bits) const { return static_cast<uint32_t>(bits) << 16; }
};

// binary16 of IEEE 754. A signalling NaN comes out quiet, with its sign and payload, as IEEE 754-2019 section 6.2 wants
// of a conversion and as F16C and the Arm instructions do it.
struct FromHalf {
  ONECOPY_INLINE uint32_t operator()(uint16_t bits) const {
    const int32_t magnitude = (bits & 0x7fff) << 13;
    // A subnormal is fraction * 2^-24: put the fraction under 2^-14 as if it were normal, and take 2^-14 away again.
    // Both operands and the result are normal float32, so no flush-to-zero mode can touch them.
    const float raised = std::bit_cast<float>(magnitude + (113 << 23));
    const int32_t subnormal = std::bit_cast<int32_t>(raised - 0x1p-14f);
    const int32_t normal = magnitude + (112 << 23);
    // All ones where the difference is negative: comparisons would keep -O2 from vectorizing this.
    const int32_t is_subnormal = (magnitude - (1 << 23)) >> 31;
    const int32_t is_infinite_or_nan = ((31 << 23) - 1 - magnitude) >> 31;
    const int32_t is_nan = ((31 << 23) - magnitude) >> 31;
    const int32_t finite = (subnormal & is_subnormal) | (normal & ~is_subnormal);
    const int32_t infinite = 0x7f800000 & is_infinite_or_nan;
    const int32_t quiet = 0x00400000 & is_nan;
    return static_cast<uint32_t>(finite | infinite | quiet) | static_cast<uint32_t>(bits & 0x8000) << 16;
  }
};

// Integers and float64: the processor's conversion, which rounds to nearest, ties to even, in the default mode that
// Node runs in, and quietens a signalling NaN, whose upper payload bits stay.
template <typename Element>
struct FromNumber {
  ONECOPY_INLINE uint32_t operator()(Element element) const {
    return std::bit_cast<uint32_t>(static_cast<float>(element));
  }
};

}  // namespace onecopy
