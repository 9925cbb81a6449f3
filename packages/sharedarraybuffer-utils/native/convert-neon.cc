#include "convert-kernels.h"
#include "convert-loops.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace onecopy {

#if defined(__aarch64__)
namespace {

constexpr size_t kLanes = 4;  // float32 in a 128-bit register
constexpr size_t kVectorBytes = 16;

struct BFloat16 {
  using Tail = FromBFloat16;
  static ONECOPY_INLINE uint32x4_t Widen(uint16x4_t elements) { return vshll_n_u16(elements, 16); }
};

struct Half {
  using Tail = FromHalf;
  // FCVTL, which the first version of the instruction set has; arithmetic on halves came later and is not needed. With
  // the modes that Node runs in it quietens a signalling NaN and keeps its payload, as the plain loop does.
  static ONECOPY_INLINE uint32x4_t Widen(uint16x4_t elements) {
    return vreinterpretq_u32_f32(vcvt_f32_f16(vreinterpret_f16_u16(elements)));
  }
};

// Bytes are what is loaded and stored: lanes of more than one byte would promise an alignment that nobody gives.
ONECOPY_INLINE uint16x8_t Load(const uint8_t* from) { return vreinterpretq_u16_u8(vld1q_u8(from)); }

ONECOPY_INLINE void Store(uint8_t* to, uint32x4_t floats) { vst1q_u8(to, vreinterpretq_u8_u32(floats)); }

template <typename Type>
void Widen(const uint8_t* source, size_t count, uint8_t* target) {
  size_t done = 0;
  for (; done + 4 * kLanes <= count; done += 4 * kLanes) {
    const uint8_t* from = source + done * sizeof(uint16_t);
    uint8_t* to = target + done * sizeof(uint32_t);
    const uint16x8_t first = Load(from);
    const uint16x8_t second = Load(from + kVectorBytes);
    Store(to, Type::Widen(vget_low_u16(first)));
    Store(to + kVectorBytes, Type::Widen(vget_high_u16(first)));
    Store(to + 2 * kVectorBytes, Type::Widen(vget_low_u16(second)));
    Store(to + 3 * kVectorBytes, Type::Widen(vget_high_u16(second)));
  }
  source += done * sizeof(uint16_t);
  target += done * sizeof(uint32_t);
  ConvertEach<uint16_t>(source, count - done, target, typename Type::Tail{});
}

}  // namespace

Kernel NeonKernel(Format format) {
  switch (format) {
    case Format::kF16: return Widen<Half>;
    case Format::kBF16: return Widen<BFloat16>;
    default: return nullptr;
  }
}

#else

Kernel NeonKernel(Format) { return nullptr; }

#endif

}  // namespace onecopy
