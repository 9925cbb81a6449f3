#include "index-scan.h"

#include <algorithm>
#include <map>
#include <string>

#include "json-cursor.h"

namespace onecopy {
namespace {

constexpr size_t kUsualEntryBytes = 80;

bool IsLetterOrDigit(char byte) {
  return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
}

// Windows opens a device under these names, whatever follows the dot.
bool IsDevice(std::string_view name) {
  std::string stem(name.substr(0, name.find('.')));
  for (char& byte : stem) byte = static_cast<char>(byte | 0x20);  // lower case; digits stay
  if (stem.size() == 4 && stem[3] >= '0' && stem[3] <= '9') return stem.starts_with("com") || stem.starts_with("lpt");
  return stem == "con" || stem == "prn" || stem == "aux" || stem == "nul";
}

// Surely the plain name of a file beside the index, on every system; others are left to the strict parser.
bool IsPlainFileName(std::string_view name) {
  if (name.empty() || name.back() == '.' || IsDevice(name)) return false;
  return std::all_of(name.begin(), name.end(),
                     [](char byte) { return IsLetterOrDigit(byte) || byte == '.' || byte == '_' || byte == '-'; });
}

class IndexScan {
 public:
  IndexScan(std::string_view json, ScannedIndex& index)
      : json_(json.data(), json.data() + json.size()), index_(index) {
    index.entries.reserve(json.size() / kUsualEntryBytes + 1);
  }

  bool Read() {
    bool mapped = false;
    bool described = false;
    if (!json_.Take('{')) return false;
    do {
      std::string_view key;
      if (!json_.TakeKey(key)) return false;
      bool& seen = key == "weight_map" ? mapped : described;
      if (seen || (&seen == &described && key != "metadata")) return false;
      seen = true;
      if (!(&seen == &mapped ? ReadWeightMap() : SkipMetadata())) return false;
    } while (json_.Take(','));
    return json_.Take('}') && json_.AtEnd() && mapped;
  }

 private:
  bool ReadWeightMap() {
    if (!json_.Take('{')) return false;
    if (json_.Take('}')) return true;
    std::string_view last;
    uint32_t shard = 0;
    do {
      std::string_view name, shard_name;
      if (!json_.TakeKey(name) || !json_.TakeString(shard_name)) return false;
      // Most tensors are in the same shard as the one before.
      if (shard_name != last || last.empty()) {
        const auto [known, fresh] = shards_.try_emplace(shard_name, static_cast<uint32_t>(shards_.size()));
        if (fresh && !IsPlainFileName(shard_name)) return false;
        if (fresh) index_.shard_names.push_back(shard_name);
        shard = known->second;
        last = shard_name;
      }
      index_.entries.push_back({name, shard});
    } while (json_.Take(','));
    return json_.Take('}');
  }

  // An object of strings and numbers, as `total_size` is; other values are left to the strict parser.
  bool SkipMetadata() {
    if (!json_.Take('{')) return false;
    if (json_.Take('}')) return true;
    std::vector<std::string_view> keys;
    do {
      std::string_view key, text;
      if (!json_.TakeKey(key) || std::find(keys.begin(), keys.end(), key) != keys.end()) return false;
      keys.push_back(key);
      if (keys.size() > kMostMetadata || !(json_.TakeString(text) || json_.TakeNumber())) return false;
    } while (json_.Take(','));
    return json_.Take('}');
  }

  static constexpr size_t kMostMetadata = 64;  // keys are compared with each other

  JsonCursor json_;
  ScannedIndex& index_;
  std::map<std::string_view, uint32_t> shards_;  // not by hash: names of one hash would take quadratic time
};

}  // namespace

bool ScanIndex(std::string_view json, ScannedIndex& index) { return IndexScan(json, index).Read(); }

}  // namespace onecopy
