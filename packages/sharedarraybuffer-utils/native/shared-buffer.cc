// The one file that speaks to V8 itself: Node-API cannot wrap foreign memory in a SharedArrayBuffer on Node 20.
#include "shared-buffer.h"

#include <sys/mman.h>
#include <v8.h>

#include <cstring>

#include "mapping.h"
#include "system-error.h"

namespace onecopy {
namespace {

// Node-API's values are V8's local handles; node's own js_native_api_v8.h converts them in the same way.
Napi::Value ToNapi(Napi::Env env, v8::Local<v8::Value> value) {
  return Napi::Value(env, reinterpret_cast<napi_value>(*value));
}

v8::Local<v8::Value> ToV8(Napi::Value value) {
  napi_value raw = value;
  v8::Local<v8::Value> result;
  std::memcpy(static_cast<void*>(&result), &raw, sizeof raw);
  return result;
}

// Any thread may run this, also after the thread that made the buffer has ended.
void DropBuffer(void*, size_t, void* mapping) { ReleaseBuffer(static_cast<Mapping*>(mapping)); }

size_t SizeArgument(const Napi::CallbackInfo& info, size_t argument) {
  return static_cast<size_t>(info[argument].As<Napi::Number>().Int64Value());
}

void Unmap(void* memory, size_t length, void*) { munmap(memory, length); }

// The bytes at a page of their own, read-only like the mapping, or null when there is no memory for them.
std::shared_ptr<v8::BackingStore> CopyOf(const uint8_t* from, size_t length) {
  void* copy = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (copy == MAP_FAILED) return nullptr;
  memcpy(copy, from, length);
  mprotect(copy, length, PROT_READ);
  return v8::SharedArrayBuffer::NewBackingStore(copy, length, Unmap, nullptr);
}

}  // namespace

// askForCollection(): has this thread's heap looked through soon, in steps between other work. V8 does not know of the
// memory behind our buffers, and would let those that nobody reaches lie for as long as its own heap has room.
Napi::Value AskForCollection(const Napi::CallbackInfo& info) {
  v8::Isolate::GetCurrent()->MemoryPressureNotification(v8::MemoryPressureLevel::kModerate);
  return info.Env().Undefined();
}

// copyAligned(handle, byteOffset, byteLength): a copy of these bytes at an even address, one for all threads that ask
// while any of them has it.
Napi::Value CopyAligned(const Napi::CallbackInfo& info) {
  Mapping* mapping = OpenMapping(info, 0);
  const size_t offset = SizeArgument(info, 1);
  const size_t length = SizeArgument(info, 2);
  if (offset > mapping->byte_length || length > mapping->byte_length - offset) {
    throw SystemError(info.Env(), ERANGE, "copyAligned", mapping->path);
  }
  std::shared_ptr<v8::BackingStore> store;
  {
    // Held while copying: a second thread that wants the same bytes waits for them instead of copying them too.
    std::lock_guard lock(mapping->copies_mutex);
    mapping->ForgetExpiredCopies();
    std::weak_ptr<void>& known = mapping->copies[{offset, length}];
    store = std::static_pointer_cast<v8::BackingStore>(known.lock());
    if (store == nullptr) known = store = CopyOf(mapping->base + offset, length);
  }
  if (store == nullptr) throw SystemError(info.Env(), ENOMEM, "mmap", mapping->path);
  return ToNapi(info.Env(), v8::SharedArrayBuffer::New(v8::Isolate::GetCurrent(), std::move(store)));
}

// createBuffer(handle, byteOffset, byteLength): a SharedArrayBuffer that is exactly these bytes. One for each tensor
// and never one for a whole shard: a view that crosses postMessage keeps only the low 32 bits of its byteOffset.
Napi::Value CreateBuffer(const Napi::CallbackInfo& info) {
  Mapping* mapping = OpenMapping(info, 0);
  const size_t offset = SizeArgument(info, 1);
  const size_t length = SizeArgument(info, 2);
  if (offset > mapping->byte_length || length > mapping->byte_length - offset) {
    throw SystemError(info.Env(), ERANGE, "createBuffer", mapping->path);
  }
  RetainBuffer(mapping);
  std::unique_ptr<v8::BackingStore> store = v8::SharedArrayBuffer::NewBackingStore(
      const_cast<uint8_t*>(mapping->base) + offset, length, DropBuffer, mapping);
  return ToNapi(info.Env(), v8::SharedArrayBuffer::New(v8::Isolate::GetCurrent(), std::move(store)));
}

Napi::Value ShareMemory(Napi::Env env, uint8_t* base, size_t byte_length) {
  std::unique_ptr<v8::BackingStore> store = v8::SharedArrayBuffer::NewBackingStore(base, byte_length, Unmap, nullptr);
  return ToNapi(env, v8::SharedArrayBuffer::New(v8::Isolate::GetCurrent(), std::move(store)));
}

// describeParts(handle, table, recordsOffset, stride, count, begin, length, nameOffset, nameLength, namesOffset)
Napi::Value DescribeParts(const Napi::CallbackInfo& info) {
  Mapping* mapping = OpenMapping(info, 0);
  std::shared_ptr<v8::BackingStore> store = ToV8(info[1]).As<v8::SharedArrayBuffer>()->GetBackingStore();
  auto table = std::make_unique<PartTable>();
  table->base = static_cast<const uint8_t*>(store->Data());
  table->byte_length = store->ByteLength();
  table->keep_alive = store;
  size_t* const fields[] = {&table->records_offset, &table->stride, &table->count, &table->begin_field,
                            &table->length_field, &table->name_offset_field, &table->name_length_field,
                            &table->names_offset};
  for (size_t i = 0; i < std::size(fields); i++) *fields[i] = SizeArgument(info, i + 2);
  if (table->records_offset > table->byte_length ||
      table->count * table->stride > table->byte_length - table->records_offset) {
    throw SystemError(info.Env(), ERANGE, "describeParts", mapping->path);
  }
  // Mappings of one identity have the same parts, so the first description stays.
  PartTable* none = nullptr;
  if (mapping->parts.compare_exchange_strong(none, table.get())) table.release();
  return info.Env().Undefined();
}

}  // namespace onecopy
