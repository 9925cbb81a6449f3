// The headers and the index of a checkpoint, read, checked and laid out as a table in one job. Compiled code needs no
// warming up, and a checkpoint is opened once in a process: most of the time would go to an interpreter.
#include "quick-read.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "checkpoint-file.h"
#include "checkpoint-table.h"
#include "descriptor.h"
#include "job.h"
#include "mapping.h"
#include "shared-buffer.h"

namespace onecopy {
namespace {

constexpr size_t kFirstRead = 64 << 10;  // bytes; most headers end before
constexpr size_t kPrefix = 8;            // bytes of a header's length
constexpr size_t kShardsPerThread = 16;
// More are opened again one by one when they are mapped: a process may have few descriptors.
constexpr size_t kMostHeldOpen = 256;
constexpr size_t kMostThreads = 4;  // enough to keep a disk busy; processors are few where this matters

// What the job is to read; the limits are in bytes.
struct Request {
  std::optional<std::string> index_path;
  std::vector<std::string> shard_paths;  // where there is no index
  std::vector<Dtype> dtypes;
  uint64_t header_limit = 0;
  uint64_t headers_limit = 0;  // of all together
  uint64_t index_limit = 0;
  uint64_t shards_limit = 0;
  Wanted wanted;
};

std::string BaseName(const std::string& path) { return path.substr(path.rfind('/') + 1); }

class Reader {
 public:
  explicit Reader(Request request) : request_(std::move(request)) {}

  bool Read() {
    if (request_.index_path && !ReadIndex(*request_.index_path)) return false;
    if (request_.shard_paths.size() > request_.shards_limit) return false;
    shards_.resize(request_.shard_paths.size());
    files_.resize(shards_.size());
    const bool read = ReadShards() && EachIsAFileOfItsOwn() && LayOutTable(shards_, request_.index_path ? &index_ : nullptr, table_);
    // Here, and not when the job is destroyed: hundreds of megabytes may take a while, and that is on the event loop.
    shards_ = {};
    index_ = {};
    index_json_ = {};
    return read;
  }

  TableMemory& table() { return table_; }
  const std::vector<File>& files() const { return files_; }
  bool held_open() const { return files_.size() <= kMostHeldOpen; }
  const File* index_file() const { return request_.index_path ? &index_file_ : nullptr; }

 private:
  bool ReadIndex(const std::string& path) {
    if (!index_file_.Open(path) || index_file_.byte_length() > request_.index_limit) return false;
    const size_t length = index_file_.byte_length();
    if (!index_file_.Read(request_.wanted, index_json_.Allocate(length), length, 0)) return false;
    if (!ScanIndex(index_json_.view(), index_)) return false;
    const std::string folder = path.substr(0, path.rfind('/') + 1);
    for (const std::string_view name : index_.shard_names) request_.shard_paths.push_back(folder + std::string(name));
    return true;
  }

  bool ReadShards() {
    const size_t wanted = std::min(kMostThreads, shards_.size() / kShardsPerThread);
    std::vector<std::thread> threads;
    threads.reserve(wanted);
    try {
      while (threads.size() + 1 < wanted) threads.emplace_back([this] { ReadNext(); });
    } catch (const std::exception&) {
      // No further thread, or no memory for one: as many as there may be; this one is among them.
    }
    ReadNext();
    for (std::thread& thread : threads) thread.join();
    return !failed_;
  }

  void ReadNext() {
    JsonText json;  // of one header at a time: all together may be more than there is room for
    try {
      for (size_t shard = next_++; shard < shards_.size() && !failed_; shard = next_++) {
        if (!ReadShard(request_.shard_paths[shard], shards_[shard], files_[shard], json)) failed_ = true;
      }
    } catch (const std::bad_alloc&) {
      failed_ = true;
    }
  }

  bool ReadShard(const std::string& path, ScannedShard& shard, File& file, JsonText& json) {
    if (!file.Open(path)) return false;
    shard.name = BaseName(path);
    shard.path = path;
    shard.byte_length = file.byte_length();
    shard.inode = file.inode();
    shard.modified = file.modified();
    if (!ReadHeader(file, shard, json)) return false;
    if (!held_open()) file.Close();
    const uint64_t data_length = shard.byte_length - shard.data_offset;
    return ScanHeader(json.view(), data_length, request_.dtypes, shard.header);
  }

  bool ReadHeader(const File& file, ScannedShard& shard, JsonText& text) {
    // Nothing is read ahead: the weights behind the header are not asked for.
    const ScatteredReads scattered(file.number());
    char first[kFirstRead];
    const size_t had = std::min<uint64_t>(shard.byte_length, sizeof first);
    if (had < kPrefix || !file.Read(request_.wanted, first, had, 0)) return false;
    uint64_t length;
    memcpy(&length, first, sizeof length);
    if (length > request_.header_limit || length > shard.byte_length - kPrefix) return false;
    if ((header_bytes_ += length) > request_.headers_limit) return false;
    shard.data_offset = kPrefix + length;
    char* const json = text.Allocate(length);
    const size_t here = std::min<size_t>(length, had - kPrefix);
    memcpy(json, first + kPrefix, here);
    return here == length || file.Read(request_.wanted, json + here, length - here, kPrefix + here);
  }

  // What two names lead to has each of its tensors twice.
  bool EachIsAFileOfItsOwn() const {
    std::vector<std::pair<uint64_t, uint64_t>> identities;
    for (const File& file : files_) identities.push_back(file.identity());
    std::sort(identities.begin(), identities.end());
    return std::adjacent_find(identities.begin(), identities.end()) == identities.end();
  }

  Request request_;
  File index_file_;
  JsonText index_json_;
  ScannedIndex index_;
  std::vector<ScannedShard> shards_;
  std::vector<File> files_;
  TableMemory table_;
  std::atomic<size_t> next_ = 0;
  std::atomic<uint64_t> header_bytes_ = 0;
  std::atomic<bool> failed_ = false;
};

Napi::Object StateOf(Napi::Env env, const File& file) {
  Napi::Object state = Napi::Object::New(env);
  state.Set("byteLength", Napi::Number::New(env, static_cast<double>(file.byte_length())));
  state.Set("inode", Napi::BigInt::New(env, file.inode()));
  state.Set("modifiedNs", NanosecondsOf(env, file.modified()));
  return state;
}

class ReadJob : public Job {
 public:
  // `cancelled` is where the request looks; it stays for as long as the job runs.
  ReadJob(Napi::Env env, Request request, const Napi::Object& cancelled)
      : Job(env), cancelled_(Napi::Persistent(cancelled)), reader_(std::move(request)) {}

 private:
  Failure Work() override {
    try {
      read_ = reader_.Read();
    } catch (const std::bad_alloc&) {
      // Whoever reads it strictly needs less at a time, or will say so.
    }
    return {};
  }

  Napi::Value Result(Napi::Env env) override {
    if (!read_) return env.Null();
    Napi::Object result = Napi::Object::New(env);
    const size_t length = reader_.table().byte_length();
    result.Set("table", ShareMemory(env, reader_.table().Release(), length));
    result.Set("descriptors", reader_.held_open() ? Handles(env) : env.Null());
    const File* const index = reader_.index_file();
    result.Set("index", index ? Napi::Value(StateOf(env, *index)) : env.Null());
    return result;
  }

  Napi::Value Handles(Napi::Env env) const {
    const std::vector<File>& files = reader_.files();
    Napi::Array handles = Napi::Array::New(env, files.size());
    for (uint32_t at = 0; at < files.size(); at++) handles.Set(at, NewDescriptor(env, files[at].descriptor()));
    return handles;
  }

  Napi::ObjectReference cancelled_;
  Reader reader_;
  bool read_ = false;
};

std::vector<std::string> Strings(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<std::string> strings;
  for (uint32_t at = 0; at < array.Length(); at++) strings.push_back(array.Get(at).As<Napi::String>().Utf8Value());
  return strings;
}

}  // namespace

// readCheckpoint(indexPath | null, shardPaths, dtypeNames, dtypeBits, limits, cancelled): a promise of the table, the open
// files of the shards (null when there are too many to be held open) and the index's state; or of null, whenever anything is
// unusual or wrong, or the Int32Array `cancelled` is not 0.
Napi::Value ReadCheckpoint(const Napi::CallbackInfo& info) {
  Request request;
  if (info[0].IsString()) request.index_path = info[0].As<Napi::String>().Utf8Value();
  request.shard_paths = Strings(info[1]);
  const auto bits = info[3].As<Napi::Array>();
  for (const std::string& name : Strings(info[2])) {
    const Napi::Value size = bits.Get(static_cast<uint32_t>(request.dtypes.size()));
    request.dtypes.push_back({name, size.As<Napi::Number>().Uint32Value()});
  }
  const auto limits = info[4].As<Napi::Array>();
  uint64_t* const places[] = {&request.header_limit, &request.headers_limit, &request.index_limit, &request.shards_limit};
  for (uint32_t at = 0; at < std::size(places); at++) {
    const Napi::Value limit = limits.Get(at);
    *places[at] = static_cast<uint64_t>(limit.As<Napi::Number>().Int64Value());
  }
  const auto cancelled = info[5].As<Napi::Int32Array>();
  request.wanted = Wanted(cancelled.Data());
  return Job::Start(std::make_unique<ReadJob>(info.Env(), std::move(request), cancelled));
}

}  // namespace onecopy
