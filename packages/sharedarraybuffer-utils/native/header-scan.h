#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace onecopy {

// An element type as headers name it; its position is its number in the table.
struct Dtype {
  std::string name;
  uint64_t bits;
};

// A tensor of a header, in the order of the data.
struct ScannedTensor {
  uint64_t begin;  // bytes behind the header
  uint64_t end;
  uint32_t name_at;  // first byte in `names`
  uint32_t name_length;
  uint32_t name_hash;
  uint32_t dtype;
  uint32_t shape_at;  // first dimension in `shapes`
  uint32_t rank;
};

// Keeps nothing of the header's bytes: they may go before the next header is read.
struct ScannedHeader {
  std::vector<ScannedTensor> tensors;
  std::string names;  // of all tensors, one behind the other
  std::vector<double> shapes;
  std::string metadata;  // as JSON: an array of pairs, or null
};

// Reads a header that is written as serializers write it, which is nearly every header there is. False for any other,
// valid or not; what is read here the strict parser accepts too, save for tensors that stand there twice.
// `json` has kJsonPadding zeros behind it.
bool ScanHeader(std::string_view json, uint64_t data_length, const std::vector<Dtype>& dtypes, ScannedHeader& header);

}  // namespace onecopy
