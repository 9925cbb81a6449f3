// Plays a file system that cannot map files, below the folder in NO_MMAP_IN: mmap answers ENODEV there.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int is_below(int descriptor) {
  const char *folder = getenv("NO_MMAP_IN");
  char link[64], path[PATH_MAX] = "";
  if (folder == NULL || descriptor < 0) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  return readlink(link, path, sizeof path - 1) > 0 && strncmp(path, folder, strlen(folder)) == 0;
}

void *mmap(void *address, size_t length, int protection, int flags, int descriptor, off_t offset) {
  static void *(*real)(void *, size_t, int, int, int, off_t);
  if (real == NULL) real = (void *(*)(void *, size_t, int, int, int, off_t))dlsym(RTLD_NEXT, "mmap");
  if (is_below(descriptor)) {
    errno = ENODEV;
    return MAP_FAILED;
  }
  return real(address, length, protection, flags, descriptor, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int descriptor, off_t offset) {
  return mmap(address, length, protection, flags, descriptor, offset);
}
