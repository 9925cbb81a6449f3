#include "convert-kernels.h"
#include "convert-loops.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace onecopy {

#if defined(__x86_64__)
namespace {

// The file is compiled for any x64 processor; only what carries this attribute uses more, and only after asking.
#define ONECOPY_AVX2 __attribute__((target("avx2,f16c")))

constexpr size_t kLanes = 8;  // float32 in a 256-bit register
constexpr size_t kVectorBytes = 32;

// From this size on the output goes past the caches: it would not stay in them, and a store that does not first read
// the line saves a third of the traffic. Measured 1.3 to 1.5 times faster from 32 MiB up, slower below 8 MiB.
constexpr size_t kStreamBytes = size_t{32} << 20;

struct BFloat16 {
  using Tail = FromBFloat16;
  ONECOPY_AVX2 static ONECOPY_INLINE __m256i Widen(__m128i elements) {
    return _mm256_slli_epi32(_mm256_cvtepu16_epi32(elements), 16);
  }
};

struct Half {
  using Tail = FromHalf;
  ONECOPY_AVX2 static ONECOPY_INLINE __m256i Widen(__m128i elements) {
    return _mm256_castps_si256(_mm256_cvtph_ps(elements));
  }
};

template <typename Type, bool kStream>
ONECOPY_AVX2 ONECOPY_INLINE size_t WidenBlocks(const uint8_t* source, size_t begin, size_t end, uint8_t* target) {
  size_t index = begin;
  for (; index + 2 * kLanes <= end; index += 2 * kLanes) {
    const auto* from = reinterpret_cast<const __m128i_u*>(source + index * sizeof(uint16_t));
    uint8_t* to = target + index * sizeof(uint32_t);
    const __m256i low = Type::Widen(_mm_loadu_si128(from));
    const __m256i high = Type::Widen(_mm_loadu_si128(from + 1));
    if constexpr (kStream) {
      _mm256_stream_si256(reinterpret_cast<__m256i*>(to), low);
      _mm256_stream_si256(reinterpret_cast<__m256i*>(to + kVectorBytes), high);
    } else {
      _mm256_storeu_si256(reinterpret_cast<__m256i_u*>(to), low);
      _mm256_storeu_si256(reinterpret_cast<__m256i_u*>(to + kVectorBytes), high);
    }
  }
  return index;
}

template <typename Type>
ONECOPY_AVX2 void Widen(const uint8_t* source, size_t count, uint8_t* target) {
  const size_t misaligned = reinterpret_cast<uintptr_t>(target) % kVectorBytes;
  size_t done = 0;
  // Streaming stores need an aligned target: the plain loop takes the floats before the first boundary.
  if (count * sizeof(uint32_t) >= kStreamBytes && misaligned % sizeof(uint32_t) == 0) {
    const size_t head = misaligned == 0 ? 0 : (kVectorBytes - misaligned) / sizeof(uint32_t);
    ConvertEach<uint16_t>(source, head, target, typename Type::Tail{});
    done = WidenBlocks<Type, true>(source, head, count, target);
    _mm_sfence();
  } else {
    done = WidenBlocks<Type, false>(source, 0, count, target);
  }
  source += done * sizeof(uint16_t);
  target += done * sizeof(uint32_t);
  ConvertEach<uint16_t>(source, count - done, target, typename Type::Tail{});
}

bool HasAvx2AndF16c() {
  // __builtin_cpu_supports also asks whether the system saves the wide registers.
  static const bool has = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
  return has;
}

}  // namespace

Kernel Avx2Kernel(Format format) {
  if (!HasAvx2AndF16c()) return nullptr;
  switch (format) {
    case Format::kF16: return Widen<Half>;
    case Format::kBF16: return Widen<BFloat16>;
    default: return nullptr;
  }
}

#else

Kernel Avx2Kernel(Format) { return nullptr; }

#endif

}  // namespace onecopy
