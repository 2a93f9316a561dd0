// The pieces of an encoder's training step that are no large matrix product, over rows of fp32. The interface is that
// of the kernels in bf16, with floats in place of their numbers. Whatever the number of threads, results are the same.
#include "attention.h"
#include "rows.h"

extern "C" int prepare() { return 1; }

extern "C" const char* body() {
#if defined(__AVX512F__)
  return "AVX-512";
#elif defined(__AVX2__)
  return "AVX2";
#else
  return "C++";
#endif
}
