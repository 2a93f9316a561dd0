// What the kernels of both number types share: what Python passes to them, and memory to work in.
#pragma once

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static inline long rounded_up(long count, long multiple) { return (count + multiple - 1) / multiple * multiple; }
static inline long smaller(long a, long b) { return a < b ? a : b; }

// Where each text's rows are: its first query and key, and how many it has. Its keys attend to nothing outside.
struct Texts {
  const int64_t *first_query, *queries, *first_key, *keys;
  int64_t count;
};

struct Heads {
  int64_t count, size;  // of elements a head: a multiple of 32
  float scaling;        // of the scores
};

struct Norm {
  const float *weight, *bias;
  float epsilon;
  int64_t rows, size;
};

// What is dropped is a hash of two keys and a place, so that no mask is stored. A place serves two elements, of 16
// bits each; what is below the threshold is dropped. masks.py has the same functions in numpy.
struct Dropout {
  uint32_t threshold;  // of 65,536; 0 drops nothing
  float scale;         // of what is kept
  uint32_t key0, key1;
};

static inline uint32_t mixed(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

// Sums over rows are made of this many parts, whatever the number of threads, so that the result is always the same.
enum { kParts = 32 };

struct Part {
  long begin, end;
  Part(long rows, long number) {
    const long size = (rows + kParts - 1) / kParts;
    begin = smaller(number * size, rows), end = smaller(begin + size, rows);
  }
};

// ---- memory -------------------------------------------------------------------------------------------------

#ifdef __SANITIZE_ADDRESS__
// Each part by itself, so that the sanitizer sees what goes beyond its end.
class Scratch {
 public:
  ~Scratch() { begin(0); }
  void begin(size_t) {
    while (count_ > 0) free(parts_[--count_]);
  }
  template <class Type>
  Type* take(size_t count) {
    if (count_ == sizeof parts_ / sizeof *parts_) abort();
    return (Type*)(parts_[count_++] = malloc(count * sizeof(Type)));
  }

 private:
  void* parts_[32];
  int count_ = 0;
};
#else
// A thread's memory for one task, kept for the next one.
class Scratch {
 public:
  ~Scratch() { free(base_); }
  void begin(size_t bytes) {
    bytes += 64 * 64;  // what rounding up each part may take
    if (bytes > size_) {
      free(base_);
      size_ = rounded_up(bytes, 4096);
      base_ = (char*)aligned_alloc(4096, size_);
      if (base_ == nullptr) abort();
    }
    used_ = 0;
  }
  template <class Type>
  Type* take(size_t count) {
    Type* place = (Type*)(base_ + used_);
    used_ += rounded_up(count * sizeof(Type), 64);
    if (used_ > size_) abort();
    return place;
  }

 private:
  char* base_ = nullptr;
  size_t size_ = 0, used_ = 0;
};
#endif
static thread_local Scratch scratch;
