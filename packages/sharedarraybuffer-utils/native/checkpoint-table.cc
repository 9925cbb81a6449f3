#include "checkpoint-table.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

namespace onecopy {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr uint64_t kMagic = 0x79706f63656e6f;
constexpr uint32_t kVersion = 1;

struct TableHeader {
  uint64_t magic;
  uint32_t version, tensor_count, shard_count, slot_count;
  uint64_t records_offset, shapes_offset, slots_offset, shards_offset, names_offset, names_length;
  uint64_t metadata_offset, metadata_length, total_length, tensor_bytes;
};
static_assert(sizeof(TableHeader) == 104);

struct Record {
  uint64_t begin, length;
  uint32_t name_offset, name_length, name_hash, shard, shape_offset, rank, dtype, reserved;
};
static_assert(sizeof(Record) == 48);

struct ShardRecord {
  uint64_t file_length, data_offset;
  uint32_t name_offset, name_length, path_offset, path_length, first_record, record_count;
  uint64_t inode, modified_ns;
};
static_assert(sizeof(ShardRecord) == 56);

constexpr size_t kLookAhead = 16;  // names: enough for their slots, records and texts to come from memory meanwhile

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
    slots_ = At<uint32_t>(header_.slots_offset);
    names_ = At<char>(header_.names_offset);
    FillRecords();
    if (!FillSlots()) return false;
    memcpy(At<char>(header_.metadata_offset), metadata.data(), metadata.size());
    memcpy(memory_.base(), &header_, sizeof header_);
    return true;
  }

  // Whether every tensor stands in the shard that the index names, and the index names nothing else.
  bool AgreesWith(const ScannedIndex& index) {
    const std::vector<IndexEntry>& entries = index.entries;
    if (entries.size() != header_.tensor_count) return false;
    std::vector<uint32_t> hashes(entries.size());
    for (size_t at = 0; at < entries.size(); at++) hashes[at] = HashName(entries[at].name);
    std::vector<bool> seen(entries.size());
    for (size_t at = 0; at < entries.size(); at++) {
      if (at + kLookAhead * 2 < entries.size()) __builtin_prefetch(&slots_[FirstSlot(hashes[at + kLookAhead * 2])]);
      if (at + kLookAhead < entries.size()) {
        const uint32_t slot = slots_[FirstSlot(hashes[at + kLookAhead])];
        if (slot != 0) __builtin_prefetch(&records_[slot - 1]);
      }
      const uint32_t found = Find(entries[at].name, hashes[at]);
      // A name that stands twice in the index hides one that is missing there.
      if (found == kNone || seen[found] || records_[found].shard != entries[at].shard) return false;
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
      names += shard.name.size() + shard.path.size();
      for (const ScannedTensor& tensor : shard.header.tensors) names += tensor.name.size();
    }
    if (std::max({tensors * 2, dimensions, names}) > std::numeric_limits<uint32_t>::max()) return false;
    header_.magic = kMagic;
    header_.version = kVersion;
    header_.tensor_count = static_cast<uint32_t>(tensors);
    header_.shard_count = static_cast<uint32_t>(shards_.size());
    header_.slot_count = static_cast<uint32_t>(std::bit_ceil(std::max<size_t>(2, tensors * 2)));
    header_.records_offset = sizeof(TableHeader);
    header_.shapes_offset = header_.records_offset + tensors * sizeof(Record);
    header_.slots_offset = header_.shapes_offset + dimensions * sizeof(double);
    header_.shards_offset = header_.slots_offset + header_.slot_count * sizeof(uint32_t);
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
      const auto& [tensors, dimensions, metadata] = shard.header;
      const auto number = static_cast<uint32_t>(&shard - shards_.data());
      const auto name_length = static_cast<uint32_t>(shard.name.size());
      const auto path_length = static_cast<uint32_t>(shard.path.size());
      const uint32_t name_offset = PutName(shard.name);
      const uint32_t path_offset = PutName(shard.path);
      *shard_record++ = {shard.byte_length, shard.data_offset, name_offset, name_length, path_offset, path_length,
                         static_cast<uint32_t>(record - records_), static_cast<uint32_t>(tensors.size()),
                         shard.inode, shard.modified_ns};
      for (size_t at = 0; at < tensors.size(); at++) {
        const ScannedTensor& tensor = tensors[at];
        const uint64_t length = tensor.end - tensor.begin;
        *record++ = {shard.data_offset + tensor.begin, length, PutName(tensor.name),
                     static_cast<uint32_t>(tensor.name.size()), shard.name_hashes[at], number,
                     shape + tensor.shape_at, tensor.rank, tensor.dtype, 0};
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

  bool FillSlots() {
    for (uint32_t record = 0; record < header_.tensor_count; record++) {
      if (record + kLookAhead < header_.tensor_count) {
        __builtin_prefetch(&slots_[FirstSlot(records_[record + kLookAhead].name_hash)], 1);
      }
      const uint32_t hash = records_[record].name_hash;
      uint32_t slot = FirstSlot(hash);
      for (; slots_[slot] != 0; slot = (slot + 1) & (header_.slot_count - 1)) {
        const Record& other = records_[slots_[slot] - 1];
        if (other.name_hash == hash && NameOf(other) == NameOf(records_[record])) return false;
      }
      slots_[slot] = record + 1;
    }
    return true;
  }

  uint32_t Find(std::string_view name, uint32_t hash) const {
    for (uint32_t slot = FirstSlot(hash); slots_[slot] != 0; slot = (slot + 1) & (header_.slot_count - 1)) {
      const Record& record = records_[slots_[slot] - 1];
      if (record.name_hash == hash && NameOf(record) == name) return slots_[slot] - 1;
    }
    return kNone;
  }

  uint32_t FirstSlot(uint32_t hash) const { return hash & (header_.slot_count - 1); }

  std::string_view NameOf(const Record& record) const { return {names_ + record.name_offset, record.name_length}; }

  const std::vector<ScannedShard>& shards_;
  TableMemory& memory_;
  TableHeader header_{};
  Record* records_ = nullptr;
  uint32_t* slots_ = nullptr;
  char* names_ = nullptr;
  uint32_t named_ = 0;  // bytes
};

}  // namespace

// FNV-1a, as hashName() in packages/checkpoint/src/directory-layout.ts.
uint32_t HashName(std::string_view name) {
  uint32_t hash = 0x811c9dc5;
  for (const char byte : name) hash = (hash ^ static_cast<uint8_t>(byte)) * 0x01000193;
  return hash;
}

TableMemory::~TableMemory() {
  if (base_ != nullptr) munmap(base_, byte_length_);
}

bool TableMemory::Allocate(size_t byte_length) {
  void* const base = mmap(nullptr, byte_length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return false;
  base_ = static_cast<uint8_t*>(base);
  byte_length_ = byte_length;
  return true;
}

uint8_t* TableMemory::Release() {
  uint8_t* const base = base_;
  base_ = nullptr;
  return base;
}

bool LayOutTable(const std::vector<ScannedShard>& shards, const ScannedIndex* index, TableMemory& memory) {
  Table table(shards, memory);
  return table.Build() && (index == nullptr || table.AgreesWith(*index));
}

}  // namespace onecopy
