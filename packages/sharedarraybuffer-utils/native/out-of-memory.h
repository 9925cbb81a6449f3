#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace onecopy {

// An allocation that failed, with what it was for, in bytes; std::bad_alloc itself does not tell.
class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(size_t byte_length) : byte_length_(byte_length) {}
  const char* what() const noexcept override { return "out of memory"; }
  size_t byte_length() const { return byte_length_; }

 private:
  size_t byte_length_;
};

inline size_t BytesOf(const std::bad_alloc& error) {
  const auto* known = dynamic_cast<const OutOfMemory*>(&error);
  return known == nullptr ? 0 : known->byte_length();
}

// Memory whose content does not matter.
template <typename Element>
std::unique_ptr<Element[]> Allocate(size_t count) {
  std::unique_ptr<Element[]> memory(new (std::nothrow) Element[count]);
  if (memory == nullptr) throw OutOfMemory(count * sizeof(Element));
  return memory;
}

}  // namespace onecopy
