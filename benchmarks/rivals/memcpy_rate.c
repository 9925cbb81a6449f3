// The rate of memcpy into memory that is there: memcpy_rate <bytes> <passes>, the median pass in milliseconds.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static int ascending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  const size_t length = strtoull(argv[1], NULL, 10);
  const int passes = atoi(argv[2]);
  char *source = malloc(length), *target = malloc(length);
  double *times = calloc((size_t)passes, sizeof *times);
  if (source == NULL || target == NULL || times == NULL) return 1;
  memset(source, 1, length);
  memset(target, 2, length);
  for (int pass = 0; pass < passes; pass++) {
    const double started = now_ms();
    memcpy(target, source, length);
    // Without this the compiler may drop what nobody reads.
    __asm__ volatile("" : : "r"(target) : "memory");
    times[pass] = now_ms() - started;
  }
  qsort(times, (size_t)passes, sizeof *times, ascending);
  printf("{\"ms\":%.5f}\n", times[passes / 2]);
  return 0;
}
