#include <napi.h>

#include "assembled-memory.h"
#include "convert.h"
#include "descriptor.h"
#include "descriptor-table.h"
#include "fault-report.h"
#include "file-lease.h"
#include "file-lock.h"
#include "library-pin.h"
#include "mapping.h"
#include "quick-read.h"
#include "residency.h"
#include "sealed-memory.h"
#include "shared-buffer.h"
#include "socket-files.h"
#include "unix-socket.h"

namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  onecopy::PinLibrary();
  onecopy::GrowDescriptorTable();
  onecopy::InstallFaultReport();
  onecopy::UseSignalStack();
  exports.Set("openFile", Napi::Function::New<onecopy::OpenFile>(env));
  exports.Set("reopenDescriptor", Napi::Function::New<onecopy::ReopenDescriptor>(env));
  exports.Set("shareDescriptor", Napi::Function::New<onecopy::ShareDescriptor>(env));
  exports.Set("adoptDescriptor", Napi::Function::New<onecopy::AdoptDescriptor>(env));
  exports.Set("descriptorNumber", Napi::Function::New<onecopy::DescriptorNumber>(env));
  exports.Set("closeDescriptor", Napi::Function::New<onecopy::CloseDescriptor>(env));
  exports.Set("mapDescriptor", Napi::Function::New<onecopy::MapDescriptor>(env));
  exports.Set("adoptMapping", Napi::Function::New<onecopy::AdoptMapping>(env));
  exports.Set("closeMapping", Napi::Function::New<onecopy::CloseMapping>(env));
  exports.Set("isMapped", Napi::Function::New<onecopy::IsMapped>(env));
  exports.Set("descriptorOf", Napi::Function::New<onecopy::DescriptorOf>(env));
  exports.Set("mappingCount", Napi::Function::New<onecopy::MappingCount>(env));
  exports.Set("createBuffer", Napi::Function::New<onecopy::CreateBuffer>(env));
  exports.Set("copyAligned", Napi::Function::New<onecopy::CopyAligned>(env));
  exports.Set("describeParts", Napi::Function::New<onecopy::DescribeParts>(env));
  exports.Set("residentBytes", Napi::Function::New<onecopy::ResidentBytes>(env));
  exports.Set("adviseRange", Napi::Function::New<onecopy::AdviseRange>(env));
  exports.Set("evictMapping", Napi::Function::New<onecopy::EvictMapping>(env));
  exports.Set("memoryLimits", Napi::Function::New<onecopy::MemoryLimits>(env));
  exports.Set("convertToFloat32", Napi::Function::New<onecopy::ConvertToFloat32>(env));
  exports.Set("readCheckpoint", Napi::Function::New<onecopy::ReadCheckpoint>(env));
  exports.Set("createMemory", Napi::Function::New<onecopy::CreateMemory>(env));
  exports.Set("fillMemory", Napi::Function::New<onecopy::FillMemory>(env));
  exports.Set("copyRuns", Napi::Function::New<onecopy::CopyRuns>(env));
  exports.Set("expectScattered", Napi::Function::New<onecopy::ExpectScattered>(env));
  exports.Set("sealMemory", Napi::Function::New<onecopy::SealMemory>(env));
  exports.Set("isSealed", Napi::Function::New<onecopy::SealsOf>(env));
  exports.Set("listenUnix", Napi::Function::New<onecopy::ListenUnix>(env));
  exports.Set("connectUnix", Napi::Function::New<onecopy::ConnectUnix>(env));
  exports.Set("sendDatagram", Napi::Function::New<onecopy::SendDatagram>(env));
  exports.Set("lockFile", Napi::Function::New<onecopy::LockFile>(env));
  exports.Set("takeFileLock", Napi::Function::New<onecopy::TakeFileLock>(env));
  exports.Set("releaseFileLock", Napi::Function::New<onecopy::ReleaseFileLock>(env));
  exports.Set("isFileLocked", Napi::Function::New<onecopy::IsFileLocked>(env));
  exports.Set("watchLeases", Napi::Function::New<onecopy::WatchLeases>(env));
  exports.Set("unwatchLeases", Napi::Function::New<onecopy::UnwatchLeases>(env));
  exports.Set("takeLease", Napi::Function::New<onecopy::TakeLease>(env));
  exports.Set("leaseHolds", Napi::Function::New<onecopy::LeaseHolds>(env));
  exports.Set("UnixSocket", onecopy::UnixSocket::Define(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(onecopy, Init)
