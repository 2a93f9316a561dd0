// Vectors of 16 numbers, bf16 in memory and fp32 in registers, and the functions of them that the kernels need.
#pragma once

#include <immintrin.h>

#include "../shared.h"

#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || !defined(__AVX512VL__)
#error "these kernels need AVX-512 (F, BW, DQ, VL)"
#endif
// The tests build the slower bodies on processors that have the faster instructions.
#if defined(__AMX_BF16__) && defined(__AMX_TILE__) && !defined(WITHOUT_AMX)
#define HAS_AMX 1
#endif
#if defined(__AVX512BF16__) && !defined(WITHOUT_BF16)
#define HAS_BF16 1
#endif

typedef uint16_t bf16;
typedef __m512 Floats;
typedef __m512i Words;

static const int kWidth = 16;  // numbers of a vector

static inline Words words(uint32_t value) { return _mm512_set1_epi32((int)value); }

// ---- bf16 ---------------------------------------------------------------------------------------------------

static inline Words widened(const bf16* from) {
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from));
}

static inline Floats load(const bf16* from) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(widened(from), 16));
}

static inline __m256i narrowed(Floats x) {
#ifdef HAS_BF16
  return (__m256i)_mm512_cvtneps_pbh(x);
#else
  // To the nearest, ties to even.
  const Words bits = _mm512_castps_si512(x);
  const Words odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), words(1));
  const Words up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, words(0x7fff)));
  const Words quiet = _mm512_or_si512(bits, words(1u << 22));  // adding must not turn a NaN into an infinity
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_mov_epi32(up, nan, quiet), 16));
#endif
}

static inline Words narrowed(Floats first, Floats second) {
#ifdef HAS_BF16
  return (Words)_mm512_cvtne2ps_pbh(second, first);
#else
  return _mm512_inserti64x4(_mm512_castsi256_si512(narrowed(first)), narrowed(second), 1);
#endif
}

static inline void store(bf16* to, Floats x) { _mm256_storeu_si256((__m256i*)to, narrowed(x)); }
static inline void store(bf16* to, Floats first, Floats second) {
  _mm512_storeu_si512(to, narrowed(first, second));
}

// Words of two bf16 numbers each, the even one in the low half: what the products read.
static inline Words pairs(Floats even, Floats odd) {
  static const uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                     8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_loadu_si512(order), narrowed(even, odd));
}

// The same of two rows of 32 numbers that are bf16 already: of the first 16 columns, or of the others.
static inline Words pairs(Words even, Words odd, bool second) {
  static const uint16_t order[2][32] = {{0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                         8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47},
                                        {16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55,
                                         24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63}};
  return _mm512_permutex2var_epi16(even, _mm512_loadu_si512(order[second]), odd);
}

static inline Words paired_rows(const bf16* even, const bf16* odd) {
  return _mm512_or_si512(widened(even), _mm512_slli_epi32(widened(odd), 16));
}

// ---- dropout ------------------------------------------------------------------------------------------------

struct Mask {
  Words key0, key1, threshold;

  explicit Mask(const Dropout& dropout) : Mask(dropout, dropout.key0, dropout.key1) {}
  // The keys of one part of a tensor.
  Mask(const Dropout& dropout, uint32_t part)
      : Mask(dropout, mixed(dropout.key0 + part), mixed(dropout.key1 ^ (part * 0x9e3779b9u))) {}
  Mask(const Dropout& dropout, uint32_t first, uint32_t second)
      : key0(words(first)), key1(words(second)), threshold(words(dropout.threshold << 16)) {}

  // Tells which of the two elements of each place are kept.
  inline void kept(Words place, __mmask16* first, __mmask16* second) const {
    Words x = _mm512_add_epi32(place, key0);
    x = _mm512_mullo_epi32(_mm512_xor_si512(x, _mm512_srli_epi32(x, 16)), words(0x7feb352du));
    x = _mm512_xor_si512(_mm512_xor_si512(x, _mm512_srli_epi32(x, 15)), key1);
    x = _mm512_mullo_epi32(x, words(0x846ca68bu));
    x = _mm512_xor_si512(x, _mm512_srli_epi32(x, 16));
    *first = _mm512_cmpge_epu32_mask(_mm512_slli_epi32(x, 16), threshold);
    *second = _mm512_cmpge_epu32_mask(x, threshold);
  }
};

static inline Words counted_from(uint32_t first) {
  const Words lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return _mm512_add_epi32(words(first), lanes);
}

// ---- functions ----------------------------------------------------------------------------------------------

// 2 to the power of x: the series of exp about the nearest integer, with a relative error of 3e-6.
static inline Floats power_of_two(Floats x) {
  const Floats whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const Floats rest = _mm512_sub_ps(x, whole);
  Floats sum = _mm512_fmadd_ps(_mm512_set1_ps(1.33335581e-3f), rest, _mm512_set1_ps(9.61812911e-3f));
  sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(5.55041087e-2f));
  sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(2.40226507e-1f));
  sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(6.93147181e-1f));
  sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(sum, whole);
}

static const float kLog2E = 1.44269504f;

// The normal distribution's probability up to x, and exp(-x * x / 2). Abramowitz and Stegun, formula 7.1.26: the
// error of erf is at most 1.5e-7.
static inline void normal(Floats x, Floats* probability, Floats* density) {
  const Floats a = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(0.707106781f)), one = _mm512_set1_ps(1.0f);
  const Floats t = _mm512_div_ps(one, _mm512_fmadd_ps(a, _mm512_set1_ps(0.3275911f), one));
  *density = power_of_two(_mm512_mul_ps(_mm512_mul_ps(a, a), _mm512_set1_ps(-kLog2E)));
  Floats sum = _mm512_fmadd_ps(_mm512_set1_ps(1.061405429f), t, _mm512_set1_ps(-1.453152027f));
  sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(1.421413741f));
  sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(-0.284496736f));
  sum = _mm512_fmadd_ps(sum, t, _mm512_set1_ps(0.254829592f));
  const Floats beyond = _mm512_mul_ps(_mm512_mul_ps(sum, t), _mm512_mul_ps(*density, _mm512_set1_ps(0.5f)));
  const __mmask16 positive = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GE_OQ);
  *probability = _mm512_mask_sub_ps(beyond, positive, one, beyond);
}
