// Vectors of fp32 numbers in the compiler's own types, as wide as the processor has them, and the functions of them
// that the kernels need.
#pragma once

#include "../shared.h"

// The tests build the wide vectors for processors that have only narrow ones, too.
#if defined(__AVX512F__) || defined(WIDE_VECTORS)
enum { kWidth = 16 };  // numbers of a vector
#else
enum { kWidth = 8 };
#endif

typedef float Floats __attribute__((vector_size(4 * kWidth)));
typedef uint32_t Words __attribute__((vector_size(4 * kWidth)));
typedef int32_t Signed __attribute__((vector_size(4 * kWidth)));

static inline Floats floats(float value) { return Floats{} + value; }
static inline Words words(uint32_t value) { return Words{} + value; }

static inline Floats load(const float* from) {
  Floats x;
  memcpy(&x, from, sizeof x);
  return x;
}

static inline void store(float* to, Floats x) { memcpy(to, &x, sizeof x); }
static inline void add_to(float* place, Floats x) { store(place, load(place) + x); }

static inline float total(Floats x) {
  float sum = 0;
  for (int lane = 0; lane < kWidth; lane++) sum += x[lane];
  return sum;
}

static inline Floats larger(Floats a, Floats b) { return a > b ? a : b; }

// ---- dropout ------------------------------------------------------------------------------------------------

// What a comparison gives: all bits of a kept element, and none of a dropped one.
typedef Signed Kept;

static inline Floats where(Kept kept, Floats x) { return (Floats)((Signed)x & kept); }

struct Mask {
  Words key0, key1, threshold;

  explicit Mask(const Dropout& dropout) : Mask(dropout, dropout.key0, dropout.key1) {}
  // The keys of one part of a tensor.
  Mask(const Dropout& dropout, uint32_t part)
      : Mask(dropout, mixed(dropout.key0 + part), mixed(dropout.key1 ^ (part * 0x9e3779b9u))) {}
  Mask(const Dropout& dropout, uint32_t first, uint32_t second)
      : key0(words(first)), key1(words(second)), threshold(words(dropout.threshold)) {}

  // Tells which of the two elements of each place are kept.
  inline void kept(Words place, Kept* first, Kept* second) const {
    Words x = place + key0;
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15) ^ key1) * 0x846ca68bu;
    x ^= x >> 16;
    // Of 16 bits, so that a comparison of signed numbers, which AVX2 has, is one of these too.
    *first = (Signed)(x & 0xffffu) >= (Signed)threshold;
    *second = (Signed)(x >> 16) >= (Signed)threshold;
  }
};

static inline Words counted_from(uint32_t first) {
  Words lanes;
  for (int lane = 0; lane < kWidth; lane++) lanes[lane] = first + lane;
  return lanes;
}

// ---- functions ----------------------------------------------------------------------------------------------

static const float kLog2E = 1.44269504f;

// 2 to the power of x, for x up to 126: the series of exp about the nearest integer, with a relative error of 2e-7. What
// is smaller than 2 to the power of -126 becomes that.
static inline Floats power_of_two(Floats x) {
  const Floats magic = floats(12582912.0f);  // 1.5 * 2^23: adding it leaves the nearest integer
  x = larger(x, floats(-126.0f));
  const Floats shifted = x + magic, whole = shifted - magic, rest = x - whole;
  Floats sum = 1.54035304e-4f * rest + 1.33335581e-3f;
  sum = sum * rest + 9.61812911e-3f;
  sum = sum * rest + 5.55041087e-2f;
  sum = sum * rest + 2.40226507e-1f;
  sum = sum * rest + 6.93147181e-1f;
  sum = sum * rest + 1.0f;
  return (Floats)((Words)sum + ((Words)shifted << 23));
}

// The normal distribution's probability up to x, and exp(-x * x / 2). Abramowitz and Stegun, formula 7.1.26: the
// error of erf is at most 1.5e-7.
static inline void normal(Floats x, Floats* probability, Floats* density) {
  const Floats a = larger(x, -x) * 0.707106781f, t = 1.0f / (a * 0.3275911f + 1.0f);
  *density = power_of_two(a * a * -kLog2E);
  Floats sum = 1.061405429f * t - 1.453152027f;
  sum = sum * t + 1.421413741f;
  sum = sum * t - 0.284496736f;
  sum = sum * t + 0.254829592f;
  const Floats beyond = sum * t * *density * 0.5f;
  *probability = x >= 0.0f ? 1.0f - beyond : beyond;
}
