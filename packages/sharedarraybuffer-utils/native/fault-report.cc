#include "fault-report.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <mutex>

#include "fault-table.h"
#include "mapping.h"

namespace onecopy {
namespace {

constexpr size_t kMaxPathShown = 1024;  // bytes; the file's own name stands at the end of a path
constexpr size_t kMaxNameShown = 200;   // bytes

// Everything below runs in a signal handler: no allocation, no lock, no stdio.
class Line {
 public:
  Line& operator<<(const char* text) { return Bytes(reinterpret_cast<const uint8_t*>(text), strlen(text)); }

  Line& operator<<(uint64_t number) {
    uint8_t digits[20];
    size_t at = sizeof digits;
    do {
      digits[--at] = '0' + number % 10;
      number /= 10;
    } while (number > 0);
    return Bytes(digits + at, sizeof digits - at);
  }

  // A name from a file: control characters would let it forge lines of its own. Besides ASCII's these are, in UTF-8,
  // U+0080 to U+009F (next line, and terminals' escapes in one character) and U+2028 to U+202E (line separators, and
  // what turns the direction of text).
  Line& Name(const uint8_t* name, size_t length, size_t most) {
    for (size_t i = 0; i < length && i < most; i++) {
      const size_t left = length - i;
      const bool c1 = left > 1 && name[i] == 0xc2 && name[i + 1] >= 0x80 && name[i + 1] < 0xa0;
      const bool separator = left > 2 && name[i] == 0xe2 && name[i + 1] == 0x80 && name[i + 2] >= 0xa8 && name[i + 2] <= 0xae;
      const bool ascii = name[i] < 0x20 || name[i] == 0x7f || name[i] == '"';
      const uint8_t shown = ascii || c1 || separator ? '?' : name[i];
      Bytes(&shown, 1);
      i += c1 ? 1 : separator ? 2 : 0;
    }
    return length > most ? *this << "..." : *this;
  }

  void Write() {
    ssize_t ignored = write(STDERR_FILENO, text_, length_);
    static_cast<void>(ignored);
  }

 private:
  Line& Bytes(const uint8_t* bytes, size_t count) {
    for (size_t i = 0; i < count && length_ < sizeof text_; i++) text_[length_++] = bytes[i];
    return *this;
  }

  uint8_t text_[2048];
  size_t length_ = 0;
};

template <typename Number>
Number Load(const uint8_t* from) {
  Number number;
  memcpy(&number, from, sizeof number);
  return number;
}

// The last part that begins at or before `offset` and reaches beyond it.
const uint8_t* FindPart(const PartTable& table, uint64_t offset) {
  const uint8_t* records = table.base + table.records_offset;
  size_t low = 0;
  size_t high = table.count;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (Load<uint64_t>(records + middle * table.stride + table.begin_field) <= offset) low = middle + 1;
    else high = middle;
  }
  // Parts without bytes may share their beginning with the one that holds the byte.
  for (; low > 0; low--) {
    const uint8_t* record = records + (low - 1) * table.stride;
    const uint64_t begin = Load<uint64_t>(record + table.begin_field);
    const uint64_t length = Load<uint64_t>(record + table.length_field);
    if (offset - begin < length) return record;
    if (length > 0) return nullptr;
  }
  return nullptr;
}

void Explain(const Mapping& mapping, const uint8_t* address, int signal_number) {
  const uint64_t offset = address - mapping.base;
  Line line;
  line << "onecopy: ";
  line << (signal_number == SIGBUS ? "bytes of a mapped file are gone: file \"" : "a write to read-only weights: file \"");
  line.Name(reinterpret_cast<const uint8_t*>(mapping.path.data()), mapping.path.size(), kMaxPathShown);
  line << "\", byte " << offset;
  const PartTable* table = mapping.parts.load();
  if (const uint8_t* record = table != nullptr ? FindPart(*table, offset) : nullptr) {
    const uint64_t begin = Load<uint64_t>(record + table->begin_field);
    const uint64_t name = table->names_offset + Load<uint32_t>(record + table->name_offset_field);
    const uint32_t name_length = Load<uint32_t>(record + table->name_length_field);
    if (name <= table->byte_length && name_length <= table->byte_length - name) {
      line << ", tensor \"";
      line.Name(table->base + name, name_length, kMaxNameShown) << "\" (its byte " << (offset - begin) << ")";
    }
  }
  line << (signal_number == SIGBUS
               ? ". The file was cut, or its disk failed, while it was mapped; replace files by renaming, never in place"
               : ". Tensor views are read-only and shared by every worker; write to a copy, such as view.data.slice()");
  line << "\n";
  line.Write();
}

struct sigaction previous_segv;
struct sigaction previous_bus;

void OnFault(int signal_number, siginfo_t* info, void* context) {
  const auto* address = static_cast<const uint8_t*>(info->si_addr);
  // A signal that a process sent (si_code <= 0) has its sender's number where a fault has its address.
  const bool sent = info->si_code <= 0;
  if (const Mapping* mapping = sent ? nullptr : FindMapping(address)) Explain(*mapping, address, signal_number);
  // Then what would have happened without us: V8's own handler for WebAssembly, another library's, or death.
  const struct sigaction& previous = signal_number == SIGBUS ? previous_bus : previous_segv;
  if ((previous.sa_flags & SA_SIGINFO) != 0) {
    previous.sa_sigaction(signal_number, info, context);
  } else if (sent && previous.sa_handler == SIG_IGN) {
    return;
  } else if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
    struct sigaction fatal = {};
    fatal.sa_handler = SIG_DFL;
    sigaction(signal_number, &fatal, nullptr);
    // A fault repeats itself on return and is now fatal; a signal that another process sent would not.
    if (sent) raise(signal_number);
  } else {
    previous.sa_handler(signal_number);
  }
}

class SignalStack {
 public:
  SignalStack() {
    stack_t current;
    if (sigaltstack(nullptr, &current) != 0 || (current.ss_flags & SS_DISABLE) == 0) return;
    void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return;
    memory_ = memory;
    stack_t own = {};
    own.ss_sp = memory;
    own.ss_size = kBytes;
    sigaltstack(&own, nullptr);
  }

  ~SignalStack() {
    if (memory_ == nullptr) return;
    stack_t none = {};
    none.ss_flags = SS_DISABLE;
    sigaltstack(&none, nullptr);
    munmap(memory_, kBytes);
  }

 private:
  static constexpr size_t kBytes = 64 * 1024;  // the report's line and V8's handler, with room to spare
  void* memory_ = nullptr;
};

}  // namespace

void InstallFaultReport() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action = {};
    action.sa_sigaction = OnFault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    // Known before ours is there: another thread may fault in between.
    sigaction(SIGSEGV, nullptr, &previous_segv);
    sigaction(SIGBUS, nullptr, &previous_bus);
    sigaction(SIGSEGV, &action, nullptr);
    sigaction(SIGBUS, &action, nullptr);
  });
}

void UseSignalStack() {
  static thread_local SignalStack stack;
  static_cast<void>(stack);
}

}  // namespace onecopy
