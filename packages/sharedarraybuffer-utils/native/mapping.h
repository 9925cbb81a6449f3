#pragma once

#include <napi.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "descriptor.h"
#include "file-time.h"

namespace onecopy {

// Which file, in which state, a mapping shows: two opens with the same identity share one mapping.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t byte_length = 0;
  FileTime modified;
  bool operator==(const FileIdentity&) const = default;
};

// Names for the parts of a mapping, read by the fault report alone: records of a fixed stride in shared memory, sorted
// by their first byte. The layout is the caller's; this floor knows only where its four fields stand.
struct PartTable {
  std::shared_ptr<void> keep_alive;
  const uint8_t* base = nullptr;
  size_t byte_length = 0;
  size_t records_offset = 0;
  size_t stride = 0;
  size_t count = 0;
  size_t begin_field = 0;        // u64: first byte of the part in the file
  size_t length_field = 0;       // u64: its byte length
  size_t name_offset_field = 0;  // u32: offset of its name in the names
  size_t name_length_field = 0;  // u32: byte length of its name
  size_t names_offset = 0;
};

// One file's bytes in this process. All counts are guarded by the registry's mutex.
struct Mapping {
  uint32_t id = 0;
  const uint8_t* base = nullptr;
  size_t byte_length = 0;
  SharedDescriptor descriptor;  // guarded too; null where it is not kept, and once no handle is open, see DescriptorFor
  FileIdentity identity;
  std::string path;
  bool sealed = false;             // memory that nobody can change any more, see sealed-memory.cc
  bool residency_visible = false;  // whether the kernel tells us the truth in mincore, see residency.cc
  size_t handles = 0;              // open Mapping objects of all threads
  size_t buffers = 0;              // live SharedArrayBuffers and running jobs
  std::atomic<PartTable*> parts{nullptr};
  // Copies of parts that cannot be read in place, by begin and length, for as long as any thread has one; see
  // shared-buffer.cc.
  std::mutex copies_mutex;
  std::map<std::pair<size_t, size_t>, std::weak_ptr<void>> copies;
  size_t copies_checked = 0;  // how many there were when those that had expired were last taken out

  void ForgetExpiredCopies();  // the caller holds the mutex
};

// The process-wide registry, shared by all threads because the library's static state is.
void RetainBuffer(Mapping* mapping);
void ReleaseBuffer(Mapping* mapping);

// The file behind a mapping with an open handle; the caller keeps it open. Null where it was not kept and cannot be opened
// again; errno says why, and is ESTALE where its path names another file by now, the same in another state, or none.
SharedDescriptor DescriptorFor(Mapping* mapping);

// A JavaScript handle to a mapping; its finalizer releases what close() did not.
struct Handle {
  Mapping* mapping;
  bool open = true;
};

// The open mapping behind the argument; throws when it was closed.
Mapping* OpenMapping(const Napi::CallbackInfo& info, size_t argument);

// As one number, of as many bits as it takes.
Napi::BigInt NanosecondsOf(Napi::Env env, FileTime time);

Napi::Value MapDescriptor(const Napi::CallbackInfo& info);
Napi::Value AdoptMapping(const Napi::CallbackInfo& info);
Napi::Value CloseMapping(const Napi::CallbackInfo& info);
Napi::Value IsMapped(const Napi::CallbackInfo& info);
Napi::Value DescriptorOf(const Napi::CallbackInfo& info);
Napi::Value LingeringBytes(const Napi::CallbackInfo& info);
Napi::Value MappingCount(const Napi::CallbackInfo& info);

}  // namespace onecopy
