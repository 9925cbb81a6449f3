#include "fault-table.h"

#include <atomic>
#include <cstddef>

namespace onecopy {
namespace {

// The addresses stand here and not in the mapping alone: WebAssembly's own faults pass through the handler while other
// threads unmap and delete, so it follows no pointer before it knows that the fault lies inside.
struct Slot {
  std::atomic<Mapping*> mapping{nullptr};
  std::atomic<const uint8_t*> base{nullptr};
  std::atomic<size_t> byte_length{0};
};

// Mappings beyond this many are served like the others, but a fault in them is not explained: a table that a signal
// handler may read has a fixed place. 64 Ki × 24 bytes of zero pages cost nothing until they are used.
constexpr size_t kMaxSlots = 1 << 16;
Slot slots[kMaxSlots];
std::atomic<size_t> slots_end{0};

}  // namespace

void AddToFaultTable(Mapping* mapping) {
  if (mapping->base == nullptr) return;
  for (size_t index = 0; index < kMaxSlots; index++) {
    Slot& slot = slots[index];
    if (slot.mapping.load() != nullptr) continue;
    slot.base.store(mapping->base);
    slot.byte_length.store(mapping->byte_length);
    slot.mapping.store(mapping);
    if (slots_end.load() <= index) slots_end.store(index + 1);
    return;
  }
}

void RemoveFromFaultTable(Mapping* mapping) {
  const size_t end = slots_end.load();
  for (size_t index = 0; index < end; index++) {
    if (slots[index].mapping.load() == mapping) slots[index].mapping.store(nullptr);
  }
}

const Mapping* FindMapping(const void* address) {
  const auto* wanted = static_cast<const uint8_t*>(address);
  const size_t end = slots_end.load();
  for (size_t index = 0; index < end; index++) {
    const Mapping* mapping = slots[index].mapping.load();
    const uint8_t* base = slots[index].base.load();
    if (mapping != nullptr && wanted >= base && wanted < base + slots[index].byte_length.load()) return mapping;
  }
  return nullptr;
}

}  // namespace onecopy
