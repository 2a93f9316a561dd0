// The pieces of an encoder's training step that are no large matrix product, over rows of bf16. A plain C interface
// without PyTorch's headers: addresses come from Python. Whatever the number of threads, results are the same.
#include "attention.h"
#include "rows.h"
#include "weights.h"

// Has to be called once before the others, in every process. Says whether the operating system allows the
// instructions.
extern "C" int prepare() { return allow_tiles() ? 1 : 0; }

extern "C" const char* body() {
#if defined(HAS_AMX)
  return "AMX";
#elif defined(HAS_BF16)
  return "AVX512-BF16";
#else
  return "AVX-512";
#endif
}
