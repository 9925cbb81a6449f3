#include "convert.h"

#include <sys/mman.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "convert-kernels.h"

namespace onecopy {
namespace {

struct FormatInfo {
  std::string_view name;
  Format format;
  uint64_t bits;  // of one element
};

constexpr FormatInfo kFormats[] = {
    {"BOOL", Format::kBool, 8},
    {"F4", Format::kF4, 4},
    {"F6_E2M3", Format::kF6E2M3, 6},
    {"F6_E3M2", Format::kF6E3M2, 6},
    {"U8", Format::kU8, 8},
    {"I8", Format::kI8, 8},
    {"F8_E5M2", Format::kF8E5M2, 8},
    {"F8_E4M3", Format::kF8E4M3, 8},
    {"F8_E8M0", Format::kF8E8M0, 8},
    {"F8_E4M3FNUZ", Format::kF8E4M3FNUZ, 8},
    {"F8_E5M2FNUZ", Format::kF8E5M2FNUZ, 8},
    {"I16", Format::kI16, 16},
    {"U16", Format::kU16, 16},
    {"F16", Format::kF16, 16},
    {"BF16", Format::kBF16, 16},
    {"I32", Format::kI32, 32},
    {"U32", Format::kU32, 32},
    {"F32", Format::kF32, 32},
    {"F64", Format::kF64, 64},
    {"I64", Format::kI64, 64},
    {"U64", Format::kU64, 64},
};

const FormatInfo* FindFormat(std::string_view name) {
  for (const FormatInfo& format : kFormats) {
    if (format.name == name) return &format;
  }
  return nullptr;
}

struct Bytes {
  uint8_t* data;
  uint64_t elements;
};

// Asks Node-API itself: Napi::TypedArray would hand out an ArrayBuffer, which a SharedArrayBuffer is not.
std::optional<Bytes> BytesOf(const Napi::Value& value, napi_typedarray_type expected) {
  if (!value.IsTypedArray()) return std::nullopt;
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  const napi_status status = napi_get_typedarray_info(value.Env(), value, &type, &length, &data, nullptr, nullptr);
  if (status != napi_ok || type != expected) return std::nullopt;
  return Bytes{static_cast<uint8_t*>(data), length};
}

constexpr uintptr_t kHugePageBytes = uintptr_t{2} << 20;

// glibc gives every block of this size its own mapping, so the advice touches nobody else's memory and goes with it.
constexpr uint64_t kHugeTargetBytes = uint64_t{32} << 20;

// A new target has no pages yet, and faulting them in by 4 KiB takes several times as long as the conversion: with
// huge pages 256 MiB were filled 5 times faster. Every byte of the range is written next, so no memory is taken in
// vain. Only advice: where it is refused nothing changes.
void PreferHugePages(uint8_t* target, uint64_t byte_length) {
  if (byte_length < kHugeTargetBytes) return;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(target) + kHugePageBytes - 1) & ~(kHugePageBytes - 1);
  const uintptr_t end = (reinterpret_cast<uintptr_t>(target) + byte_length) & ~(kHugePageBytes - 1);
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}

struct Variant {
  const char* name;
  Kernel kernel;
};

// The first that there is for this format on this processor; the plain one always is.
Variant ChooseVariant(Format format, bool plain_wanted) {
  if (!plain_wanted) {
    if (const Kernel kernel = Avx2Kernel(format)) return {"avx2", kernel};
    if (const Kernel kernel = NeonKernel(format)) return {"neon", kernel};
  }
  return {"plain", PlainKernel(format)};
}

}  // namespace

Napi::Value ConvertToFloat32(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string name = info[0].IsString() ? info[0].As<Napi::String>().Utf8Value() : "";
  const FormatInfo* format = FindFormat(name);
  if (format == nullptr) throw Napi::TypeError::New(env, "No conversion from \"" + name + "\" to float32");
  const std::optional<Bytes> source = BytesOf(info[1], napi_uint8_array);
  const std::optional<Bytes> target = BytesOf(info[3], napi_float32_array);
  if (!source) throw Napi::TypeError::New(env, "The source must be a Uint8Array");
  if (!target) throw Napi::TypeError::New(env, "The target must be a Float32Array");
  const double requested = info[2].IsNumber() ? info[2].As<Napi::Number>().DoubleValue() : -1;
  // Written so that NaN is refused too; no count that passes can overflow the product below.
  if (!(requested >= 0 && requested <= static_cast<double>(target->elements))) {
    throw Napi::RangeError::New(env, "The target has room for " + std::to_string(target->elements) + " elements");
  }
  const uint64_t count = static_cast<uint64_t>(requested);
  if (source->elements < (count * format->bits + 7) / 8) {
    throw Napi::RangeError::New(env, "The source has only " + std::to_string(source->elements) + " bytes");
  }
  const bool plain_wanted = info[4].IsString() && info[4].As<Napi::String>().Utf8Value() == "plain";
  const Variant variant = ChooseVariant(format->format, plain_wanted);
  PreferHugePages(target->data, count * sizeof(float));
  if (count > 0) variant.kernel(source->data, count, target->data);
  return Napi::String::New(env, variant.name);
}

}  // namespace onecopy
