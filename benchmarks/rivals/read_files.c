// Only reads files, in one of several ways, as fast as a plain C program can:
//   read_files buffered|direct <threads> <KiB of a block> <file>...   pread into one block of memory for each thread
//   read_files populate <threads> <KiB of a block> <file>...          mmap, then MADV_POPULATE_READ block by block
//   read_files huge <threads> <KiB of a block> <file>...              the same, having asked for huge pages
//   read_files touch 1 0 <file>...                                    mmap, then a byte of each page in file order
//   read_files evict 1 0 <file>...                                    drops them from RAM, and tells what is left there
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

enum { PAGE = 4096 };

typedef struct {
  const char *path;
  int descriptor;
  size_t length;
  char *bytes;  // NULL unless it is mapped
} File;

static File *files;
static int file_count, thread_count;
static size_t block_bytes;
static const char *way;
static atomic_size_t next_block, done_bytes;

static void fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

// Blocks are numbered through all files, so that the disk is read forwards whatever the number of threads.
static int find_block(size_t number, File **file, size_t *offset) {
  for (int at = 0; at < file_count; at++) {
    const size_t blocks = (files[at].length + block_bytes - 1) / block_bytes;
    if (number < blocks) {
      *file = &files[at];
      *offset = number * block_bytes;
      return 1;
    }
    number -= blocks;
  }
  return 0;
}

static void *work(void *unused) {
  (void)unused;
  const int populate = strcmp(way, "populate") == 0 || strcmp(way, "huge") == 0;
  char *block = NULL;
  if (!populate && posix_memalign((void **)&block, PAGE, block_bytes) != 0) fail("posix_memalign");
  File *file;
  size_t offset;
  while (find_block(atomic_fetch_add(&next_block, 1), &file, &offset)) {
    const size_t wanted = file->length - offset < block_bytes ? file->length - offset : block_bytes;
    if (populate) {
      if (madvise(file->bytes + offset, wanted, MADV_POPULATE_READ) != 0) fail("MADV_POPULATE_READ");
    } else {
      for (size_t done = 0; done < wanted;) {
        // O_DIRECT takes whole pages; the last one of a file comes back short.
        const ssize_t got = pread(file->descriptor, block + done, block_bytes - done, (off_t)(offset + done));
        if (got <= 0) fail(file->path);
        done += (size_t)got;
      }
    }
    atomic_fetch_add(&done_bytes, wanted);
  }
  free(block);
  return NULL;
}

static void run_threads(void) {
  pthread_t threads[64];
  for (int at = 0; at < thread_count; at++)
    if (pthread_create(&threads[at], NULL, work, NULL) != 0) fail("pthread_create");
  for (int at = 0; at < thread_count; at++) pthread_join(threads[at], NULL);
}

static void touch(void) {
  volatile char sink = 0;
  for (int at = 0; at < file_count; at++) {
    for (size_t byte = 0; byte < files[at].length; byte += PAGE) sink += files[at].bytes[byte];
    done_bytes += files[at].length;
  }
}

static size_t resident_bytes(const File *file) {
  const size_t pages = (file->length + PAGE - 1) / PAGE;
  unsigned char *present = malloc(pages + 1);
  if (present == NULL || mincore(file->bytes, file->length, present) != 0) fail("mincore");
  size_t resident = 0;
  for (size_t page = 0; page < pages; page++) resident += (present[page] & 1) * PAGE;
  free(present);
  return resident;
}

static int evict(void) {
  size_t resident = 0;
  for (int at = 0; at < file_count; at++) {
    // Pages that are not on the disk yet are kept.
    if (fsync(files[at].descriptor) != 0) fail("fsync");
    const int error = posix_fadvise(files[at].descriptor, 0, 0, POSIX_FADV_DONTNEED);
    if (error != 0) fail("posix_fadvise");
    resident += resident_bytes(&files[at]);
  }
  printf("{\"residentBytes\":%zu}\n", resident);
  return 0;
}

int main(int argc, char **argv) {
  const long long began = now_ns();
  if (argc < 5) return 2;
  way = argv[1];
  thread_count = atoi(argv[2]);
  block_bytes = strtoull(argv[3], NULL, 10) * 1024;
  file_count = argc - 4;
  files = calloc((size_t)file_count, sizeof *files);
  if (files == NULL || thread_count < 1 || thread_count > 64) return 2;
  const int direct = strcmp(way, "direct") == 0, buffered = strcmp(way, "buffered") == 0;
  for (int at = 0; at < file_count; at++) {
    File *file = &files[at];
    struct stat status;
    file->path = argv[4 + at];
    file->descriptor = open(file->path, O_RDONLY | (direct ? O_DIRECT : 0));
    if (file->descriptor < 0 || fstat(file->descriptor, &status) != 0) fail(file->path);
    file->length = (size_t)status.st_size;
    if (direct || buffered || file->length == 0) continue;
    file->bytes = mmap(NULL, file->length, PROT_READ, MAP_SHARED, file->descriptor, 0);
    if (file->bytes == MAP_FAILED) fail("mmap");
    if (strcmp(way, "huge") == 0 && madvise(file->bytes, file->length, MADV_HUGEPAGE) != 0) fail("MADV_HUGEPAGE");
  }
  if (strcmp(way, "evict") == 0) return evict();
  if (strcmp(way, "touch") == 0) touch();
  else if (block_bytes == 0) return 2;
  else run_threads();
  const long long resident = now_ns();
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  printf("{\"beganNs\":\"%lld\",\"residentNs\":\"%lld\",\"byteLength\":%zu,\"majorFaults\":%ld,\"minorFaults\":%ld}\n",
         began, resident, (size_t)done_bytes, usage.ru_majflt, usage.ru_minflt);
  return 0;
}
