#include "header-scan.h"

#include <algorithm>

#include "json-cursor.h"
#include "name-hash.h"

namespace onecopy {
namespace {

constexpr size_t kUsualEntryBytes = 100;
constexpr size_t kMostMetadata = 64;           // keys are compared with each other
constexpr uint64_t kMostElements = 1ull << 53;  // what a double counts exactly

class HeaderScan {
 public:
  HeaderScan(std::string_view json, const std::vector<Dtype>& dtypes, ScannedHeader& header)
      : json_(json.data(), json.data() + json.size()), dtypes_(dtypes), header_(header) {
    header.tensors.reserve(json.size() / kUsualEntryBytes + 1);
    header.shapes.reserve(json.size() / kUsualEntryBytes * 2 + 1);
    header.names.reserve(json.size() / 2);
    header.metadata = "null";
  }

  bool Read(uint64_t data_length) {
    if (!json_.Take('{')) return false;
    if (!json_.Take('}')) {
      do {
        if (!ReadMember()) return false;
      } while (json_.Take(','));
      if (!json_.Take('}')) return false;
    }
    return json_.AtEnd() && cursor_ == data_length;
  }

 private:
  bool ReadMember() {
    std::string_view name;
    if (!json_.TakeKey(name)) return false;
    return name == "__metadata__" ? ReadMetadata() : ReadTensor(name);
  }

  bool ReadTensor(std::string_view name) {
    ScannedTensor tensor{};
    tensor.name_at = static_cast<uint32_t>(header_.names.size());
    tensor.name_length = static_cast<uint32_t>(name.size());
    tensor.name_hash = HashName(name);
    uint64_t elements;
    if (!json_.Take('{') || !TakeField("\"dtype\"") || !ReadDtype(tensor.dtype)) return false;
    if (!json_.Take(',') || !TakeField("\"shape\"") || !ReadShape(tensor, elements)) return false;
    if (!json_.Take(',') || !TakeField("\"data_offsets\"") || !json_.Take('[')) return false;
    if (!json_.TakeUint(tensor.begin) || !json_.Take(',') || !json_.TakeUint(tensor.end) || !json_.Take(']') || !json_.Take('}')) return false;
    // Neither side overflows: at most 15 digits of bytes, at most 2^53 elements of at most 64 bits.
    if (tensor.begin != cursor_ || tensor.end < tensor.begin) return false;
    if ((tensor.end - tensor.begin) * 8 != elements * dtypes_[tensor.dtype].bits) return false;
    cursor_ = tensor.end;
    header_.names.append(name);
    header_.tensors.push_back(tensor);
    return true;
  }

  bool TakeField(std::string_view quoted) { return json_.TakeText(quoted) && json_.Take(':'); }

  bool ReadDtype(uint32_t& dtype) {
    std::string_view name;
    if (!json_.TakeString(name)) return false;
    // Most tensors are of the same type as the one before.
    if (last_dtype_ < dtypes_.size() && dtypes_[last_dtype_].name == name) {
      dtype = last_dtype_;
      return true;
    }
    const auto found = std::find_if(dtypes_.begin(), dtypes_.end(), [&](const Dtype& each) { return each.name == name; });
    if (found == dtypes_.end()) return false;
    dtype = last_dtype_ = static_cast<uint32_t>(found - dtypes_.begin());
    return true;
  }

  bool ReadShape(ScannedTensor& tensor, uint64_t& elements) {
    elements = 1;
    tensor.shape_at = static_cast<uint32_t>(header_.shapes.size());
    if (!json_.Take('[')) return false;
    if (json_.Take(']')) return true;
    do {
      uint64_t dimension;
      if (!json_.TakeUint(dimension)) return false;
      if (__builtin_mul_overflow(elements, dimension, &elements) || elements > kMostElements) return false;
      header_.shapes.push_back(static_cast<double>(dimension));
      tensor.rank++;
    } while (json_.Take(','));
    return json_.Take(']');
  }

  // Plain strings are written in JSON as they were read.
  bool ReadMetadata() {
    if (header_.metadata != "null" || !json_.Take('{')) return false;
    std::vector<std::string_view> keys;
    std::string pairs = "[";
    if (!json_.Take('}')) {
      do {
        std::string_view key, value;
        if (!json_.TakeKey(key) || !json_.TakeString(value)) return false;
        if (keys.size() == kMostMetadata || std::find(keys.begin(), keys.end(), key) != keys.end()) return false;
        if (!keys.empty()) pairs += ',';
        keys.push_back(key);
        pairs.append("[\"").append(key).append("\",\"").append(value).append("\"]");
      } while (json_.Take(','));
      if (!json_.Take('}')) return false;
    }
    header_.metadata = pairs + "]";
    return true;
  }

  JsonCursor json_;
  const std::vector<Dtype>& dtypes_;
  ScannedHeader& header_;
  uint64_t cursor_ = 0;  // where the last tensor's data ends
  uint32_t last_dtype_ = 0;
};

}  // namespace

bool ScanHeader(std::string_view json, uint64_t data_length, const std::vector<Dtype>& dtypes, ScannedHeader& header) {
  return HeaderScan(json, dtypes, header).Read(data_length);
}

}  // namespace onecopy
