#include "checkpoint-table.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "name-hash.h"

namespace onecopy {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr uint64_t kMagic = 0x79706f63656e6f;
constexpr uint32_t kVersion = 2;

struct TableHeader {
  uint64_t magic;
  uint32_t version, tensor_count, shard_count, bucket_count;
  uint64_t records_offset, shapes_offset, buckets_offset, entries_offset, shards_offset, names_offset, names_length;
  uint64_t metadata_offset, metadata_length, total_length, tensor_bytes;
};
static_assert(sizeof(TableHeader) == 112);

struct Record {
  uint64_t begin, length;
  uint32_t name_offset, name_length, shard, shape_offset, rank, dtype;
};
static_assert(sizeof(Record) == 40);

struct NameEntry {
  uint32_t hash, record;
};

struct ShardRecord {
  uint64_t file_length, data_offset;
  uint32_t name_offset, name_length, path_offset, path_length, first_record, record_count;
  uint64_t inode;
  int64_t modified_seconds;
  uint32_t modified_nanoseconds, reserved;
};
static_assert(sizeof(ShardRecord) == 64);

constexpr size_t kMostTensors = 1u << 31;  // as many buckets as 32 bits count
constexpr size_t kLookAhead = 16;          // names: enough for their buckets, entries and records to come from memory meanwhile

size_t Align(size_t offset) { return (offset + 7) / 8 * 8; }

std::string MetadataOf(const std::vector<ScannedShard>& shards) {
  std::string json = "[";
  for (const ScannedShard& shard : shards) json.append(json.size() > 1 ? "," : "").append(shard.header.metadata);
  return json + "]";
}

class Table {
 public:
  Table(const std::vector<ScannedShard>& shards, TableMemory& memory) : shards_(shards), memory_(memory) {}

  bool Build() {
    const std::string metadata = MetadataOf(shards_);
    if (!Measure(metadata.size()) || !memory_.Allocate(header_.total_length)) return false;
    records_ = At<Record>(header_.records_offset);
    buckets_ = At<uint32_t>(header_.buckets_offset);
    entries_ = At<NameEntry>(header_.entries_offset);
    names_ = At<char>(header_.names_offset);
    FillRecords();
    FillEntries();
    if (!SortBuckets()) return false;
    memcpy(At<char>(header_.metadata_offset), metadata.data(), metadata.size());
    memcpy(memory_.base(), &header_, sizeof header_);
    return true;
  }

  // Whether every tensor stands in the shard that the index names, and the index names nothing else.
  bool AgreesWith(const ScannedIndex& index) {
    const std::vector<IndexEntry>& named = index.entries;
    if (named.size() != header_.tensor_count) return false;
    std::vector<uint32_t> hashes(named.size());
    for (size_t at = 0; at < named.size(); at++) hashes[at] = HashName(named[at].name);
    std::vector<bool> seen(named.size());
    for (size_t at = 0; at < named.size(); at++) {
      if (at + kLookAhead * 3 < named.size()) __builtin_prefetch(&buckets_[BucketOf(hashes[at + kLookAhead * 3])]);
      if (at + kLookAhead * 2 < named.size()) __builtin_prefetch(FirstEntry(hashes[at + kLookAhead * 2]));
      if (at + kLookAhead < named.size()) __builtin_prefetch(&records_[FirstEntry(hashes[at + kLookAhead])->record]);
      const uint32_t found = Find(named[at].name, hashes[at]);
      // A name that stands twice in the index hides one that is missing there.
      if (found == kNone || seen[found] || records_[found].shard != named[at].shard) return false;
      seen[found] = true;
    }
    return true;
  }

 private:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

  template <typename Type>
  Type* At(uint64_t offset) const {
    return reinterpret_cast<Type*>(memory_.base() + offset);
  }

  bool Measure(size_t metadata_length) {
    size_t tensors = 0, dimensions = 0, names = 0;
    for (const ScannedShard& shard : shards_) {
      tensors += shard.header.tensors.size();
      dimensions += shard.header.shapes.size();
      names += shard.name.size() + shard.path.size() + shard.header.names.size();
    }
    if (tensors > kMostTensors || std::max(dimensions, names) > std::numeric_limits<uint32_t>::max()) return false;
    header_.magic = kMagic;
    header_.version = kVersion;
    header_.tensor_count = static_cast<uint32_t>(tensors);
    header_.shard_count = static_cast<uint32_t>(shards_.size());
    header_.bucket_count = static_cast<uint32_t>(std::bit_ceil(std::max<size_t>(2, tensors)));
    header_.records_offset = sizeof(TableHeader);
    header_.shapes_offset = header_.records_offset + tensors * sizeof(Record);
    header_.buckets_offset = header_.shapes_offset + dimensions * sizeof(double);
    header_.entries_offset = Align(header_.buckets_offset + (size_t{header_.bucket_count} + 1) * sizeof(uint32_t));
    header_.shards_offset = header_.entries_offset + tensors * sizeof(NameEntry);
    header_.names_offset = header_.shards_offset + shards_.size() * sizeof(ShardRecord);
    header_.names_length = names;
    header_.metadata_offset = Align(header_.names_offset + names);
    header_.metadata_length = metadata_length;
    header_.total_length = Align(header_.metadata_offset + metadata_length);
    return true;
  }

  void FillRecords() {
    auto* shard_record = At<ShardRecord>(header_.shards_offset);
    auto* shapes = At<double>(header_.shapes_offset);
    Record* record = records_;
    uint32_t shape = 0;
    for (const ScannedShard& shard : shards_) {
      const auto& [tensors, names, dimensions, metadata] = shard.header;
      const auto number = static_cast<uint32_t>(&shard - shards_.data());
      const auto name_length = static_cast<uint32_t>(shard.name.size());
      const auto path_length = static_cast<uint32_t>(shard.path.size());
      const uint32_t name_offset = PutName(shard.name);
      const uint32_t path_offset = PutName(shard.path);
      *shard_record++ = {shard.byte_length, shard.data_offset, name_offset, name_length, path_offset, path_length,
                         static_cast<uint32_t>(record - records_), static_cast<uint32_t>(tensors.size()),
                         shard.inode, shard.modified.seconds, shard.modified.nanoseconds, 0};
      const uint32_t first_name = PutName(names);
      for (const ScannedTensor& tensor : tensors) {
        const uint64_t length = tensor.end - tensor.begin;
        *record++ = {shard.data_offset + tensor.begin, length, first_name + tensor.name_at, tensor.name_length, number,
                     shape + tensor.shape_at, tensor.rank, tensor.dtype};
        header_.tensor_bytes += length;
      }
      std::copy(dimensions.begin(), dimensions.end(), shapes + shape);
      shape += static_cast<uint32_t>(dimensions.size());
    }
  }

  uint32_t PutName(std::string_view name) {
    memcpy(names_ + named_, name.data(), name.size());
    const uint32_t offset = named_;
    named_ += static_cast<uint32_t>(name.size());
    return offset;
  }

  // Puts every record into its name's bucket.
  void FillEntries() {
    for (const ScannedShard& shard : shards_) {
      for (const ScannedTensor& tensor : shard.header.tensors) buckets_[BucketOf(tensor.name_hash)]++;
    }
    uint32_t end = 0;
    for (uint32_t bucket = 0; bucket < header_.bucket_count; bucket++) buckets_[bucket] = end += buckets_[bucket];
    buckets_[header_.bucket_count] = end;
    // From the last to the first, so that each bucket's end moves to its beginning.
    uint32_t record = header_.tensor_count;
    for (size_t shard = shards_.size(); shard-- > 0;) {
      const std::vector<ScannedTensor>& tensors = shards_[shard].header.tensors;
      for (size_t at = tensors.size(); at-- > 0;) {
        const uint32_t hash = tensors[at].name_hash;
        entries_[--buckets_[BucketOf(hash)]] = {hash, --record};
      }
    }
  }

  // Whoever makes many names of one hash must gain nothing: a bucket is sorted, and searched by halves. False for a name
  // that comes twice.
  bool SortBuckets() {
    for (uint32_t bucket = 0; bucket < header_.bucket_count; bucket++) {
      NameEntry* const begin = entries_ + buckets_[bucket];
      NameEntry* const end = entries_ + buckets_[bucket + 1];
      if (end - begin < 2) continue;
      std::sort(begin, end, [this](const NameEntry& a, const NameEntry& b) {
        return a.hash != b.hash ? a.hash < b.hash : NameOf(a) < NameOf(b);
      });
      const auto same = [this](const NameEntry& a, const NameEntry& b) { return a.hash == b.hash && NameOf(a) == NameOf(b); };
      if (std::adjacent_find(begin, end, same) != end) return false;
    }
    return true;
  }

  uint32_t Find(std::string_view name, uint32_t hash) const {
    const uint32_t* const bucket = buckets_ + BucketOf(hash);
    const NameEntry* const end = entries_ + bucket[1];
    const auto before = [&](const NameEntry& entry, std::string_view wanted) {
      return entry.hash != hash ? entry.hash < hash : NameOf(entry) < wanted;
    };
    const NameEntry* const found = std::lower_bound<const NameEntry*>(entries_ + bucket[0], end, name, before);
    return found != end && found->hash == hash && NameOf(*found) == name ? found->record : kNone;
  }

  uint32_t BucketOf(uint32_t hash) const { return hash >> (std::countl_zero(header_.bucket_count) + 1); }

  // Of the hash's bucket, or where it would be.
  const NameEntry* FirstEntry(uint32_t hash) const {
    return &entries_[std::min(buckets_[BucketOf(hash)], header_.tensor_count - 1)];
  }

  std::string_view NameOf(const NameEntry& entry) const {
    const Record& record = records_[entry.record];
    return {names_ + record.name_offset, record.name_length};
  }

  const std::vector<ScannedShard>& shards_;
  TableMemory& memory_;
  TableHeader header_{};
  Record* records_ = nullptr;
  uint32_t* buckets_ = nullptr;
  NameEntry* entries_ = nullptr;
  char* names_ = nullptr;
  uint32_t named_ = 0;  // bytes
};

}  // namespace

bool LayOutTable(const std::vector<ScannedShard>& shards, const ScannedIndex* index, TableMemory& memory) {
  Table table(shards, memory);
  return table.Build() && (index == nullptr || table.AgreesWith(*index));
}

}  // namespace onecopy
