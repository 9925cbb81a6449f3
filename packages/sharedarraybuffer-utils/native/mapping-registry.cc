#include "mapping-registry.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "fault-table.h"

namespace onecopy {
namespace {

// Takes the mapping out of the registry once nothing refers to it; the caller holds the mutex and unmaps afterwards.
bool RemoveIfUnused(Registry& registry, Mapping* mapping) {
  if (mapping->handles > 0 || mapping->buffers > 0) return false;
  RemoveFromFaultTable(mapping);
  std::erase(registry.mappings, mapping);
  return true;
}

void Unmap(Mapping* mapping) {
  if (mapping->base != nullptr) munmap(const_cast<uint8_t*>(mapping->base), mapping->byte_length);
  delete mapping->parts.load();
  delete mapping;
}

}  // namespace

Registry& TheRegistry() {
  // Never destroyed: deleters of other threads may still run while the process exits.
  static Registry* registry = new Registry;
  return *registry;
}

void ReleaseHandle(Mapping* mapping) {
  Registry& registry = TheRegistry();
  SharedDescriptor closed;
  bool unused;
  {
    std::lock_guard lock(registry.mutex);
    mapping->handles--;
    // Buffers need the bytes alone, and may stay for long.
    if (mapping->handles == 0 && mapping->descriptor != nullptr) {
      closed = std::move(mapping->descriptor);
      registry.kept--;
    }
    unused = RemoveIfUnused(registry, mapping);
  }
  if (unused) Unmap(mapping);
}

FileIdentity IdentityOf(const struct stat& file) {
  return {file.st_dev, file.st_ino, static_cast<uint64_t>(file.st_size), FileTime::Of(file)};
}

void Mapping::ForgetExpiredCopies() {
  if (copies.size() < 2 * copies_checked + 16) return;
  std::erase_if(copies, [](const auto& copy) { return copy.second.expired(); });
  copies_checked = copies.size();
}

void RetainBuffer(Mapping* mapping) {
  std::lock_guard lock(TheRegistry().mutex);
  mapping->buffers++;
}

void ReleaseBuffer(Mapping* mapping) {
  Registry& registry = TheRegistry();
  bool unused;
  {
    std::lock_guard lock(registry.mutex);
    mapping->buffers--;
    unused = RemoveIfUnused(registry, mapping);
  }
  if (unused) Unmap(mapping);
}

SharedDescriptor DescriptorFor(Mapping* mapping) {
  {
    std::lock_guard lock(TheRegistry().mutex);
    if (mapping->descriptor != nullptr) return mapping->descriptor;
  }
  Descriptor again(open(mapping->path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  struct stat file;
  const bool there = again.valid() && fstat(again.number(), &file) == 0;
  if (there && IdentityOf(file) == mapping->identity) return std::make_shared<const Descriptor>(std::move(again));
  // Limits and rights are another matter than a file that is gone.
  if (there || errno == ENOENT) errno = ESTALE;
  return nullptr;
}

}  // namespace onecopy
