#include "read-pages.h"

#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/vfs.h>

#include <cstdio>
#include <iterator>
#include <string>
#include <vector>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22  // Linux 5.14; older headers lack the name
#endif

namespace onecopy {
namespace {

// Whether a mapping with MADV_HUGEPAGE and MADV_RANDOM is read in whole huge pages, and nothing beyond them. Kernels before
// 5.18 would read it one small page after the other.
bool ReadsHugePages() {
  utsname system;
  int major = 0, minor = 0;
  if (uname(&system) != 0 || sscanf(system.release, "%d.%d", &major, &minor) != 2) return false;
  return major > 5 || (major == 5 && minor >= 18);
}

// The size of a huge page in bytes, 0 where files are not read in such.
size_t HugePage() {
  static const size_t size = [] {
    size_t bytes = 0;
    FILE* const file = fopen("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "re");
    if (file == nullptr) return bytes;
    if (fscanf(file, "%zu", &bytes) != 1 || !ReadsHugePages()) bytes = 0;
    fclose(file);
    return bytes;
  }();
  return size;
}

bool AllResident(const Mapping& mapping, const Pages& pages) {
  std::vector<unsigned char> present((pages.byte_length + kPage - 1) / kPage);
  if (!mapping.residency_visible || mincore(pages.start, pages.byte_length, present.data()) != 0) return false;
  return std::all_of(present.begin(), present.end(), [](unsigned char page) { return (page & 1) != 0; });
}

// Whether what stands behind the file answers late, or is a program: many small requests at once then bring the pages in
// sooner than few large ones, and huge pages do not come of either.
bool IsFarAway(int descriptor) {
  constexpr uint32_t kSmb = 0xfe534d42, kLustre = 0x0bd00bd0;
  static constexpr uint32_t kFar[] = {NFS_SUPER_MAGIC, FUSE_SUPER_MAGIC, CIFS_SUPER_MAGIC, kSmb,
                                      CEPH_SUPER_MAGIC, V9FS_MAGIC,      AFS_SUPER_MAGIC,  kLustre};
  struct statfs system;
  if (fstatfs(descriptor, &system) != 0) return false;
  return std::find(std::begin(kFar), std::end(kFar), static_cast<uint32_t>(system.f_type)) != std::end(kFar);
}

// How far the kernel reads ahead in this file, in bytes.
size_t ReadAheadBytes(const Mapping& mapping) {
  constexpr size_t kUsualMost = 8 << 20;
  const dev_t device = mapping.identity.device;
  const std::string path = "/sys/class/bdi/" + std::to_string(major(device)) + ":" + std::to_string(minor(device));
  FILE* const file = fopen((path + "/read_ahead_kb").c_str(), "re");
  if (file == nullptr) return kUsualMost;
  size_t kib = 0;
  const bool told = fscanf(file, "%zu", &kib) == 1;
  fclose(file);
  return told ? std::max<size_t>(kib << 10, 4 << 20) : kUsualMost;  // a device's largest transfer may be more than its read-ahead
}

}  // namespace

// Asks for exactly these pages. Those that are faulted in instead bring the disk's read-ahead along, which may be many
// times what was asked for: 8 MB around every range on some machines. The kernel cuts one request to the read-ahead of the
// disk or its largest transfer, and neither is usually less than this.
void RequestPages(const Pages& pages) {
  constexpr size_t kRequest = 128 << 10;
  for (size_t done = 0; done < pages.byte_length; done += kRequest) {
    madvise(pages.start + done, std::min(kRequest, pages.byte_length - done), MADV_WILLNEED);
  }
}

// Reads pages that are not in RAM, as huge pages where whole ones lie within: two megabytes at a time are a fraction of
// the work for the processor, and whoever maps the file later has them as huge pages too. By a mapping of its own, since
// the advice would stay with the mapping. What fails here is told by whoever touches the pages afterwards.
//
// The kernel marks such pages, and whoever touches a mark first makes it read ahead. So there are none where that would
// reach beyond `limit`, the end of what is wanted of the file.
void ReadPages(const Mapping& mapping, int descriptor, const Pages& pages, size_t limit) {
  if (AllResident(mapping, pages)) return;
  const size_t huge = HugePage();
  if (huge == 0 || IsFarAway(descriptor)) return RequestPages(pages);
  const size_t last = pages.file_offset + pages.byte_length;
  const size_t ahead = limit >= mapping.byte_length ? 0 : ReadAheadBytes(mapping);
  const size_t begin = (pages.file_offset + huge - 1) / huge * huge;
  const size_t end = std::min(last, limit - std::min(limit, ahead)) / huge * huge;
  if (begin >= end) return RequestPages(pages);
  void* const window = mmap(nullptr, end - begin, PROT_READ, MAP_SHARED, descriptor, static_cast<off_t>(begin));
  if (window == MAP_FAILED) return RequestPages(pages);
  // What is read ahead of this piece is wanted too, but for the last piece.
  if (last + ahead > limit) madvise(window, end - begin, MADV_RANDOM);
  if (madvise(window, end - begin, MADV_HUGEPAGE) == 0) {
    madvise(window, end - begin, MADV_POPULATE_READ);
    RequestPages(Pages(mapping, pages.file_offset, begin));
    RequestPages(Pages(mapping, end, last));
  } else {
    RequestPages(pages);
  }
  munmap(window, end - begin);
}

}  // namespace onecopy
