#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace onecopy {

// Zero bytes behind the text, so that no step has to ask whether the text goes on: a zero belongs to no token.
constexpr size_t kJsonPadding = 16;

// Steps through JSON that is written as serializers write it: strings of plain ASCII without an escape, whole numbers of
// at most 15 digits. Whatever is unusual is no token; the strict parser in packages/safetensors then tells what it is.
class JsonCursor {
 public:
  JsonCursor(const char* begin, const char* end) : at_(begin), end_(end) {}

  bool Take(char token) {
    SkipSpace();
    if (*at_ != token) return false;
    at_++;
    return true;
  }

  bool TakeText(std::string_view text) {
    SkipSpace();
    if (static_cast<size_t>(end_ - at_) < text.size() || memcmp(at_, text.data(), text.size()) != 0) return false;
    at_ += text.size();
    return true;
  }

  // A string's bytes between its quotes.
  bool TakeString(std::string_view& text) {
    if (!Take('"')) return false;
    const char* const begin = at_;
    at_ = EndOfPlainText(begin);
    if (*at_ != '"') return false;
    text = {begin, static_cast<size_t>(at_ - begin)};
    at_++;
    return true;
  }

  // A key with its colon.
  bool TakeKey(std::string_view& key) { return TakeString(key) && Take(':'); }

  bool TakeUint(uint64_t& value) {
    SkipSpace();
    const char* const begin = at_;
    value = 0;
    for (; IsDigit(*at_); at_++) value = value * 10 + static_cast<uint64_t>(*at_ - '0');
    const size_t digits = at_ - begin;
    // Fifteen digits are exact as a double and cannot overflow; more have overflowed harmlessly.
    return digits > 0 && digits <= 15 && (digits == 1 || *begin != '0');
  }

  // Steps over a number that is surely within the range of a double: 200 digits and a power of 99 are below 10^308.
  bool TakeNumber() {
    SkipSpace();
    if (*at_ == '-') at_++;
    if (*at_ == '0') at_++;
    else if (!TakeDigits(200)) return false;
    if (*at_ == '.') {
      at_++;
      if (!TakeDigits(200)) return false;
    }
    if ((*at_ | 0x20) != 'e') return true;
    at_++;
    if (*at_ == '+' || *at_ == '-') at_++;
    return TakeDigits(2);
  }

  // Whether nothing but space is left.
  bool AtEnd() {
    SkipSpace();
    return at_ == end_;
  }

 private:
  static constexpr uint64_t kOnes = 0x0101010101010101;
  static constexpr uint64_t kHighs = 0x8080808080808080;

  static bool IsDigit(char byte) { return byte >= '0' && byte <= '9'; }

  bool TakeDigits(ptrdiff_t most) {
    const char* const begin = at_;
    while (IsDigit(*at_)) at_++;
    return at_ > begin && at_ - begin <= most;
  }

  // The first high bit marks the first zero byte; marks above it may be false.
  static uint64_t ZeroBytes(uint64_t word) { return (word - kOnes) & ~word & kHighs; }

  void SkipSpace() {
    if (*at_ > ' ') return;
    while (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t') at_++;
  }

  // The first byte that is a quote, a backslash, a control character or not ASCII; eight bytes at a time.
  static const char* EndOfPlainText(const char* at) {
    static_assert(std::endian::native == std::endian::little);
    for (;; at += 8) {
      uint64_t word;
      memcpy(&word, at, sizeof word);
      const uint64_t control = (word - kOnes * 0x20) & ~word & kHighs;
      const uint64_t marks =
          control | (word & kHighs) | ZeroBytes(word ^ (kOnes * '"')) | ZeroBytes(word ^ (kOnes * '\\'));
      if (marks != 0) return at + std::countr_zero(marks) / 8;
    }
  }

  const char* at_;
  const char* end_;
};

}  // namespace onecopy
