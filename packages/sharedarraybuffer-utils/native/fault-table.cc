#include "fault-table.h"

#include <atomic>
#include <cstddef>

namespace onecopy {
namespace {

// The addresses stand here and not in the mapping alone: WebAssembly's own faults pass through the handler while other
// threads unmap and delete, so it follows no pointer before it knows that the fault lies inside.
struct Slot {
  std::atomic<uint32_t> changes{0};  // odd while the others change: what is read then does not belong together
  std::atomic<Mapping*> mapping{nullptr};
  std::atomic<const uint8_t*> base{nullptr};
  std::atomic<size_t> byte_length{0};
};

// Mappings beyond this many are served like the others, but a fault in them is not explained: a table that a signal
// handler may read has a fixed place. 64 Ki × 32 bytes of zero pages cost nothing until they are used.
constexpr size_t kMaxSlots = 1 << 16;
Slot slots[kMaxSlots];
std::atomic<size_t> slots_end{0};

}  // namespace

void AddToFaultTable(Mapping* mapping) {
  if (mapping->base == nullptr) return;
  for (size_t index = 0; index < kMaxSlots; index++) {
    Slot& slot = slots[index];
    if (slot.mapping.load() != nullptr) continue;
    slot.changes++;
    slot.base.store(mapping->base);
    slot.byte_length.store(mapping->byte_length);
    slot.mapping.store(mapping);
    slot.changes++;
    if (slots_end.load() <= index) slots_end.store(index + 1);
    return;
  }
}

void RemoveFromFaultTable(Mapping* mapping) {
  const size_t end = slots_end.load();
  for (size_t index = 0; index < end; index++) {
    Slot& slot = slots[index];
    if (slot.mapping.load() != mapping) continue;
    slot.changes++;
    slot.mapping.store(nullptr);
    slot.changes++;
  }
}

const Mapping* FindMapping(const void* address) {
  const auto* wanted = static_cast<const uint8_t*>(address);
  const size_t end = slots_end.load();
  for (size_t index = 0; index < end; index++) {
    const Slot& slot = slots[index];
    const uint32_t changes = slot.changes.load();
    const Mapping* mapping = slot.mapping.load();
    const uint8_t* base = slot.base.load();
    const size_t byte_length = slot.byte_length.load();
    // A mapping that holds the fault is alive, since somebody reads it, and so its slot does not change.
    if (changes % 2 != 0 || slot.changes.load() != changes) continue;
    if (mapping != nullptr && wanted >= base && wanted < base + byte_length) return mapping;
  }
  return nullptr;
}

}  // namespace onecopy
