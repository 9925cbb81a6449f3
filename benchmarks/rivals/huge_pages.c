// Adds up the floats of a file or of anonymous memory in pages of 4 KiB or huge ones, and prints the best of some passes
// together with how much of the memory the kernel really gave huge pages.
// huge_pages <file|anonymous> <small|huge> <path> <passes>
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static const size_t HUGE_BYTES = 2 << 20;

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

// Bytes of huge pages in the mapping that holds an address, as smaps counts them.
static unsigned long long huge_bytes(const void *address) {
  FILE *smaps = fopen("/proc/self/smaps", "r");
  if (smaps == NULL) return 0;
  char line[512];
  unsigned long long total = 0;
  int inside = 0;
  while (fgets(line, sizeof line, smaps) != NULL) {
    unsigned long begin, end, kib;
    if (sscanf(line, "%lx-%lx ", &begin, &end) == 2 && strchr(line, '-') < line + 20) {
      inside = begin <= (uintptr_t)address && (uintptr_t)address < end;
    } else if (inside && (sscanf(line, "AnonHugePages: %lu", &kib) == 1 || sscanf(line, "FilePmdMapped: %lu", &kib) == 1)) {
      total += kib * 1024ull;
    }
  }
  fclose(smaps);
  return total;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  const int of_file = strcmp(argv[1], "file") == 0;
  const int huge = strcmp(argv[2], "huge") == 0;
  const int descriptor = open(argv[3], O_RDONLY);
  struct stat status;
  if (descriptor < 0 || fstat(descriptor, &status) != 0) fail(argv[3]);
  const size_t length = (size_t)status.st_size;
  // A place that huge pages fit into.
  char *room = mmap(NULL, length + 2 * HUGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) fail("mmap");
  char *place = (char *)(((uintptr_t)room + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES);
  char *bytes = of_file ? mmap(place, length, PROT_READ, MAP_SHARED | MAP_FIXED, descriptor, 0)
                        : mmap(place, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (bytes == MAP_FAILED) fail("mmap");
  // Pages that are in the page cache already stay as small as they are.
  if (of_file && huge) posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  madvise(bytes, length, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  if (!of_file) {
    for (size_t done = 0; done < length;) {
      const ssize_t got = pread(descriptor, bytes + done, length - done, (off_t)done);
      if (got <= 0) fail("pread");
      done += (size_t)got;
    }
  }
  volatile char sink = 0;
  for (size_t at = 0; at < length; at += 4096) sink += bytes[at];
  if (huge) madvise(bytes, length, MADV_COLLAPSE);

  const long passes = strtol(argv[4], NULL, 10);
  const float *values = (const float *)bytes;
  const size_t count = length / sizeof(float);
  double best = 1e300;
  float total = 0;
  for (long pass = 0; pass < passes; pass++) {
    const double started = now_ms();
    // Eight sums, so that additions do not wait for each other.
    float sums[8] = {0};
    for (size_t at = 0; at + 8 <= count; at += 8)
      for (int lane = 0; lane < 8; lane++) sums[lane] += values[at + lane];
    const double ms = now_ms() - started;
    if (ms < best) best = ms;
    for (int lane = 0; lane < 8; lane++) total += sums[lane];
  }
  // One value of each page, in an order that no prefetcher guesses: what address translation alone costs. The multiplier
  // is odd, so that a power of two of pages is visited whole.
  size_t pages = 1;
  while (pages * 2 <= length / 4096) pages *= 2;
  double best_visit = 1e300;
  for (long pass = 0; pass < passes; pass++) {
    const double started = now_ms();
    size_t at = 0;
    for (size_t visit = 0; visit < pages; visit++) {
      at = (at * 5 + 12345) & (pages - 1);
      total += *(const float *)(bytes + at * 4096 + (at % 64) * 64);
    }
    const double each = (now_ms() - started) * 1e6 / (double)pages;
    if (each < best_visit) best_visit = each;
  }
  printf("{\"ms\":%.4f,\"visitNanoseconds\":%.4f,\"byteLength\":%zu,\"hugeBytes\":%llu,\"sum\":%g}\n", best, best_visit,
         length, huge_bytes(bytes), total);
  return 0;
}
