#include <array>

#include "convert-kernels.h"
#include "convert-loops.h"

namespace onecopy {
namespace {

constexpr uint32_t kQuietNaN = 0x7fc00000;

// What the codes at the top of a small format's range mean.
enum class Special {
  kNone,  // all are finite: FP4 and FP6 of OCP Microscaling (MX) 1.0
  kIeee,  // infinities and NaNs as in IEEE 754: E5M2 of OCP OFP8 1.0
  kFn,    // no infinity, all ones is NaN: E4M3 of OCP OFP8 1.0
  kFnuz,  // no infinity, no negative zero, whose code is NaN: Noune et al. 2022, "8-bit numerical formats for DNNs"
};

struct SmallFormat {
  int exponent_bits;
  int fraction_bits;
  int bias;
  Special special;
};

// The float32 bits of one code: (-1)^sign * 2^(exponent - bias) * 1.fraction, or 2^(1 - bias) * 0.fraction.
constexpr uint32_t Decode(SmallFormat format, uint32_t code) {
  const uint32_t sign = code >> (format.exponent_bits + format.fraction_bits) << 31;
  const uint32_t exponent_ones = (1u << format.exponent_bits) - 1;
  const uint32_t fraction_ones = (1u << format.fraction_bits) - 1;
  const uint32_t exponent = code >> format.fraction_bits & exponent_ones;
  uint32_t fraction = code & fraction_ones;
  if (format.special == Special::kFnuz && sign != 0 && exponent == 0 && fraction == 0) return kQuietNaN;
  if (exponent == exponent_ones) {
    if (format.special == Special::kFn && fraction == fraction_ones) return sign | kQuietNaN;
    if (format.special == Special::kIeee) {
      const uint32_t payload = fraction << (23 - format.fraction_bits);
      return sign | 0x7f800000 | (fraction == 0 ? 0 : payload | 0x00400000);
    }
  }
  if (exponent == 0 && fraction == 0) return sign;
  int power = static_cast<int>(exponent) - format.bias;
  if (exponent == 0) {
    for (power++; fraction <= fraction_ones; power--) fraction <<= 1;
  }
  // The smallest subnormal of all, 2^-17, is a normal float32.
  return sign | static_cast<uint32_t>(power + 127) << 23 | (fraction & fraction_ones) << (23 - format.fraction_bits);
}

template <size_t kCodes>
constexpr std::array<uint32_t, kCodes> Table(SmallFormat format) {
  std::array<uint32_t, kCodes> table{};
  for (uint32_t code = 0; code < kCodes; code++) table[code] = Decode(format, code);
  return table;
}

template <typename Convert>
constexpr std::array<uint32_t, 256> TableOf(Convert convert) {
  std::array<uint32_t, 256> table{};
  for (uint32_t code = 0; code < 256; code++) table[code] = convert(static_cast<uint8_t>(code));
  return table;
}

constexpr auto kE5M2 = Table<256>({5, 2, 15, Special::kIeee});
constexpr auto kE4M3 = Table<256>({4, 3, 7, Special::kFn});
constexpr auto kE4M3FNUZ = Table<256>({4, 3, 8, Special::kFnuz});
constexpr auto kE5M2FNUZ = Table<256>({5, 2, 16, Special::kFnuz});
constexpr auto kE2M3 = Table<64>({2, 3, 1, Special::kNone});
constexpr auto kE3M2 = Table<64>({3, 2, 3, Special::kNone});
constexpr auto kE2M1 = Table<16>({2, 1, 1, Special::kNone});
constexpr auto kBool = TableOf([](uint8_t byte) { return byte == 0 ? 0u : 0x3f800000u; });
constexpr auto kU8 = TableOf([](uint8_t byte) { return std::bit_cast<uint32_t>(static_cast<float>(byte)); });
constexpr auto kI8 =
    TableOf([](uint8_t byte) { return std::bit_cast<uint32_t>(static_cast<float>(static_cast<int8_t>(byte))); });
// 2^(code - 127), MX 1.0 section 5.4.1. Code 0 is 2^-127, a subnormal float32, written as bits: nothing computes it,
// so nothing can flush it to zero.
constexpr auto kE8M0 = TableOf([](uint8_t byte) {
  return byte == 0xff ? kQuietNaN : byte == 0 ? 0x00400000u : static_cast<uint32_t>(byte) << 23;
});

// Two float32 for each byte of FP4. The first element lies in the low nibble, as PyTorch defines float4_e2m1fn_x2, the
// type that the safetensors library writes as F4 (torch/headeronly/util/Float4_e2m1fn_x2.h).
constexpr auto kE2M1Pairs = [] {
  std::array<uint64_t, 256> table{};
  for (size_t byte = 0; byte < 256; byte++) {
    table[byte] = kE2M1[byte & 15] | static_cast<uint64_t>(kE2M1[byte >> 4]) << 32;
  }
  return table;
}();

template <const auto& kTable>
void FromTable(const uint8_t* source, size_t count, uint8_t* target) {
  ConvertEach<uint8_t>(source, count, target, [](uint8_t byte) { return kTable[byte]; });
}

void FromFloat4(const uint8_t* source, size_t count, uint8_t* target) {
  for (size_t pair = 0; pair < count / 2; pair++) {
    std::memcpy(target + pair * sizeof(uint64_t), &kE2M1Pairs[source[pair]], sizeof(uint64_t));
  }
  if (count % 2 == 0) return;
  std::memcpy(target + (count - 1) * sizeof(uint32_t), &kE2M1[source[count / 2] & 15], sizeof(uint32_t));
}

// Four elements in three bytes, element i in the bits from 6 * i up, counted from the lowest. Neither MX nor
// safetensors fixes this order; it is the one DLPack asks of packed sub-byte types (DLDataType in dlpack.h).
template <const auto& kTable>
void FromFloat6(const uint8_t* source, size_t count, uint8_t* target) {
  size_t index = 0;
  for (; index + 4 <= count; index += 4, source += 3) {
    const uint32_t codes = source[0] | source[1] << 8 | source[2] << 16;
    const uint32_t floats[4] = {kTable[codes & 63], kTable[codes >> 6 & 63], kTable[codes >> 12 & 63],
                                kTable[codes >> 18]};
    std::memcpy(target + index * sizeof(uint32_t), floats, sizeof(floats));
  }
  uint32_t codes = 0;
  for (size_t byte = 0; byte < ((count - index) * 6 + 7) / 8; byte++) codes |= source[byte] << (8 * byte);
  for (; index < count; index++, codes >>= 6) {
    std::memcpy(target + index * sizeof(uint32_t), &kTable[codes & 63], sizeof(uint32_t));
  }
}

template <typename Element, typename Convert>
void Plain(const uint8_t* source, size_t count, uint8_t* target) {
  ConvertEach<Element>(source, count, target, Convert{});
}

void CopyFloat32(const uint8_t* source, size_t count, uint8_t* target) {
  std::memcpy(target, source, count * sizeof(uint32_t));
}

}  // namespace

Kernel PlainKernel(Format format) {
  switch (format) {
    case Format::kBool: return FromTable<kBool>;
    case Format::kF4: return FromFloat4;
    case Format::kF6E2M3: return FromFloat6<kE2M3>;
    case Format::kF6E3M2: return FromFloat6<kE3M2>;
    case Format::kU8: return FromTable<kU8>;
    case Format::kI8: return FromTable<kI8>;
    case Format::kF8E5M2: return FromTable<kE5M2>;
    case Format::kF8E4M3: return FromTable<kE4M3>;
    case Format::kF8E8M0: return FromTable<kE8M0>;
    case Format::kF8E4M3FNUZ: return FromTable<kE4M3FNUZ>;
    case Format::kF8E5M2FNUZ: return FromTable<kE5M2FNUZ>;
    case Format::kI16: return Plain<int16_t, FromNumber<int16_t>>;
    case Format::kU16: return Plain<uint16_t, FromNumber<uint16_t>>;
    case Format::kF16: return Plain<uint16_t, FromHalf>;
    case Format::kBF16: return Plain<uint16_t, FromBFloat16>;
    case Format::kI32: return Plain<int32_t, FromNumber<int32_t>>;
    case Format::kU32: return Plain<uint32_t, FromNumber<uint32_t>>;
    case Format::kF32: return CopyFloat32;
    case Format::kF64: return Plain<double, FromNumber<double>>;
    case Format::kI64: return Plain<int64_t, FromNumber<int64_t>>;
    case Format::kU64: return Plain<uint64_t, FromNumber<uint64_t>>;
  }
  return nullptr;
}

}  // namespace onecopy
