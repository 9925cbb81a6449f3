#include "mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <mutex>

#include "fault-table.h"
#include "mapping-registry.h"
#include "sealed-memory.h"
#include "system-error.h"

namespace onecopy {
namespace {

// The kernel answers mincore truthfully only to those who own the file or may write to it; to others every page looks
// resident (a defence against side channels, Linux 5.2).
bool MaySeeResidency(int descriptor, const struct stat& file) {
  if (geteuid() == 0 || file.st_uid == geteuid()) return true;
  if (faccessat(descriptor, "", W_OK, AT_EMPTY_PATH) == 0) return true;
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);  // Linux before 5.8
  return access(link.c_str(), W_OK) == 0;
}

void DropHandle(Napi::Env, Handle* handle) {
  if (handle->open) ReleaseHandle(handle->mapping);
  delete handle;
}

// The handle, which has been counted, as a JavaScript value. In a thread that is being terminated none can be made.
Napi::Value NewHandle(Napi::Env env, Mapping* mapping) {
  auto* handle = new Handle{mapping};
  try {
    return Napi::External<Handle>::New(env, handle, DropHandle);
  } catch (const Napi::Error&) {
    DropHandle(env, handle);
    throw;
  }
}

Napi::Object Describe(Napi::Env env, Mapping* mapping) {
  const Napi::Value handle = NewHandle(env, mapping);
  Napi::Object result = Napi::Object::New(env);
  result.Set("handle", handle);
  result.Set("id", Napi::Number::New(env, mapping->id));
  result.Set("byteLength", Napi::Number::New(env, static_cast<double>(mapping->byte_length)));
  result.Set("path", Napi::String::New(env, mapping->path));
  result.Set("address", Napi::BigInt::New(env, static_cast<uint64_t>(reinterpret_cast<uintptr_t>(mapping->base))));
  result.Set("device", Napi::BigInt::New(env, mapping->identity.device));
  result.Set("inode", Napi::BigInt::New(env, mapping->identity.inode));
  result.Set("modifiedNs", NanosecondsOf(env, mapping->identity.modified));
  result.Set("sealed", Napi::Boolean::New(env, mapping->sealed));
  result.Set("residencyVisible", Napi::Boolean::New(env, mapping->residency_visible));
  return result;
}

}  // namespace

Napi::BigInt NanosecondsOf(Napi::Env env, FileTime time) {
  const __int128 value = static_cast<__int128>(time.seconds) * 1'000'000'000 + time.nanoseconds;
  const auto magnitude = static_cast<unsigned __int128>(value < 0 ? -value : value);
  const uint64_t words[] = {static_cast<uint64_t>(magnitude), static_cast<uint64_t>(magnitude >> 64)};
  return Napi::BigInt::New(env, value < 0, std::size(words), words);
}

Mapping* OpenMapping(const Napi::CallbackInfo& info, size_t argument) {
  auto* handle = info[argument].As<Napi::External<Handle>>().Data();
  if (!handle->open) throw SystemError(info.Env(), EBADF, "mapping", "");
  return handle->mapping;
}

// mapDescriptor(file, path, expectedByteLength or -1)
Napi::Value MapDescriptor(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const SharedDescriptor given = DescriptorIn(info[0]);
  const std::string path = info[1].As<Napi::String>().Utf8Value();
  const int64_t expected = info[2].As<Napi::Number>().Int64Value();

  struct stat file;
  if (fstat(given->number(), &file) != 0) throw SystemError(env, errno, "fstat", path);
  if (!S_ISREG(file.st_mode)) throw SystemError(env, ENODEV, "fstat", path);
  // The caller has read the header; what it says must still be what is there when the bytes are mapped.
  if (expected >= 0 && file.st_size != expected) {
    Napi::Error error = SystemError(env, ESTALE, "fstat", path);
    error.Value().Set("actualBytes", Napi::Number::New(env, static_cast<double>(file.st_size)));
    throw error;
  }
  const FileIdentity identity = IdentityOf(file);
  Registry& registry = TheRegistry();
  std::unique_lock lock(registry.mutex);
  for (Mapping* mapping : registry.mappings) {
    if (mapping->identity == identity && mapping->handles > 0) {
      mapping->handles++;
      lock.unlock();
      return Describe(env, mapping);
    }
  }

  auto mapping = std::make_unique<Mapping>();
  if (file.st_size > 0) {
    void* base = mmap(nullptr, file.st_size, PROT_READ, MAP_SHARED, given->number(), 0);
    if (base == MAP_FAILED) {
      const int error = errno;
      lock.unlock();
      throw SystemError(env, error, "mmap", path);
    }
    mapping->base = static_cast<const uint8_t*>(base);
  }
  mapping->byte_length = file.st_size;
  mapping->identity = identity;
  mapping->path = path;
  mapping->sealed = SealsOf(given->number()) == Seals::kAll;
  mapping->residency_visible = MaySeeResidency(given->number(), file);
  mapping->id = registry.next_id++;
  mapping->handles = 1;
  if (mapping->sealed || registry.kept < kMostKept) {
    mapping->descriptor = given;
    registry.kept++;
  }
  Mapping* added = mapping.release();
  registry.mappings.push_back(added);
  AddToFaultTable(added);
  lock.unlock();
  return Describe(env, added);
}

// adoptMapping(id): a further handle to a mapping of this process, or null when it was closed.
Napi::Value AdoptMapping(const Napi::CallbackInfo& info) {
  const uint32_t id = info[0].As<Napi::Number>().Uint32Value();
  Registry& registry = TheRegistry();
  std::unique_lock lock(registry.mutex);
  for (Mapping* mapping : registry.mappings) {
    if (mapping->id != id || mapping->handles == 0) continue;
    mapping->handles++;
    lock.unlock();
    return Describe(info.Env(), mapping);
  }
  return info.Env().Null();
}

// closeMapping(handle): idempotent.
Napi::Value CloseMapping(const Napi::CallbackInfo& info) {
  auto* handle = info[0].As<Napi::External<Handle>>().Data();
  if (handle->open) {
    handle->open = false;
    ReleaseHandle(handle->mapping);
  }
  return info.Env().Undefined();
}

// isMapped(id): whether a handle or a buffer still keeps that mapping alive.
Napi::Value IsMapped(const Napi::CallbackInfo& info) {
  const uint32_t id = info[0].As<Napi::Number>().Uint32Value();
  Registry& registry = TheRegistry();
  bool found;
  {
    std::lock_guard lock(registry.mutex);
    found = std::ranges::any_of(registry.mappings, [id](const Mapping* mapping) { return mapping->id == id; });
  }
  return Napi::Boolean::New(info.Env(), found);
}

// descriptorOf(handle): a handle to the file behind a mapping, for sending it to another process.
Napi::Value DescriptorOf(const Napi::CallbackInfo& info) {
  Mapping* mapping = OpenMapping(info, 0);
  SharedDescriptor descriptor = DescriptorFor(mapping);
  if (descriptor == nullptr) throw SystemError(info.Env(), errno, "open", mapping->path);
  return NewDescriptor(info.Env(), std::move(descriptor));
}

// lingeringBytes(): sealed memory that no handle is open to any more, and that buffers over it still keep.
Napi::Value LingeringBytes(const Napi::CallbackInfo& info) {
  Registry& registry = TheRegistry();
  size_t bytes = 0;
  {
    std::lock_guard lock(registry.mutex);
    for (const Mapping* mapping : registry.mappings) {
      if (mapping->sealed && mapping->handles == 0) bytes += mapping->byte_length;
    }
  }
  return Napi::Number::New(info.Env(), static_cast<double>(bytes));
}

// mappingCount(): how many mappings of this process are alive, for tests and status.
Napi::Value MappingCount(const Napi::CallbackInfo& info) {
  Registry& registry = TheRegistry();
  size_t count;
  {
    std::lock_guard lock(registry.mutex);
    count = registry.mappings.size();
  }
  return Napi::Number::New(info.Env(), static_cast<double>(count));
}

}  // namespace onecopy
