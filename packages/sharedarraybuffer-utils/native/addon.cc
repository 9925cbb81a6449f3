#include <napi.h>

#include "assembled-memory.h"
#include "convert.h"
#include "descriptor.h"
#include "descriptor-table.h"
#include "exports.h"
#include "fault-report.h"
#include "file-lease.h"
#include "file-lock.h"
#include "library-pin.h"
#include "mapping.h"
#include "memory-limits.h"
#include "quick-read.h"
#include "residency.h"
#include "sealed-memory.h"
#include "shared-buffer.h"
#include "socket-files.h"
#include "unix-socket.h"

namespace {

using onecopy::Export;

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  onecopy::PinLibrary();
  onecopy::GrowDescriptorTable();
  onecopy::InstallFaultReport();
  onecopy::UseSignalStack();
  Export<onecopy::OpenFile>(exports, "openFile");
  Export<onecopy::ReopenDescriptor>(exports, "reopenDescriptor");
  Export<onecopy::ShareDescriptor>(exports, "shareDescriptor");
  Export<onecopy::AdoptDescriptor>(exports, "adoptDescriptor");
  Export<onecopy::DescriptorNumber>(exports, "descriptorNumber");
  Export<onecopy::CloseDescriptor>(exports, "closeDescriptor");
  Export<onecopy::MapDescriptor>(exports, "mapDescriptor");
  Export<onecopy::AdoptMapping>(exports, "adoptMapping");
  Export<onecopy::CloseMapping>(exports, "closeMapping");
  Export<onecopy::IsMapped>(exports, "isMapped");
  Export<onecopy::DescriptorOf>(exports, "descriptorOf");
  Export<onecopy::LingeringBytes>(exports, "lingeringBytes");
  Export<onecopy::AskForCollection>(exports, "askForCollection");
  Export<onecopy::MappingCount>(exports, "mappingCount");
  Export<onecopy::CreateBuffer>(exports, "createBuffer");
  Export<onecopy::CopyAligned>(exports, "copyAligned");
  Export<onecopy::DescribeParts>(exports, "describeParts");
  Export<onecopy::ResidentBytes>(exports, "residentBytes");
  Export<onecopy::AdviseRange>(exports, "adviseRange");
  Export<onecopy::EvictMapping>(exports, "evictMapping");
  Export<onecopy::MemoryLimits>(exports, "memoryLimits");
  Export<onecopy::ConvertToFloat32>(exports, "convertToFloat32");
  Export<onecopy::ReadCheckpoint>(exports, "readCheckpoint");
  Export<onecopy::CreateMemory>(exports, "createMemory");
  Export<onecopy::FillMemory>(exports, "fillMemory");
  Export<onecopy::CopyRuns>(exports, "copyRuns");
  Export<onecopy::ExpectScattered>(exports, "expectScattered");
  Export<onecopy::SealMemory>(exports, "sealMemory");
  Export<onecopy::IsSealed>(exports, "isSealed");
  Export<onecopy::ListenUnix>(exports, "listenUnix");
  Export<onecopy::ConnectUnix>(exports, "connectUnix");
  Export<onecopy::SendDatagram>(exports, "sendDatagram");
  Export<onecopy::LockFile>(exports, "lockFile");
  Export<onecopy::TakeFileLock>(exports, "takeFileLock");
  Export<onecopy::IsFileLocked>(exports, "isFileLocked");
  Export<onecopy::WatchLeases>(exports, "watchLeases");
  Export<onecopy::UnwatchLeases>(exports, "unwatchLeases");
  Export<onecopy::TakeLease>(exports, "takeLease");
  Export<onecopy::LeaseHolds>(exports, "leaseHolds");
  exports.Set("UnixSocket", onecopy::UnixSocket::Define(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(onecopy, Init)
