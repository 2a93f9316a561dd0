// Small matrix products of bf16 with sums in fp32: by AMX, by the dot products of AVX512-BF16, or by AVX-512 alone.
//
// C (M, N) = A (M, K) B, or C += A B. A has rows of bf16. B has words (K / 2, N) that hold two rows each. M is a
// multiple of 16, N too, and K is a multiple of 32. Strides are in elements, and in words for B.
#pragma once

#include "vectors.h"

#ifdef HAS_AMX

#include <sys/syscall.h>
#include <unistd.h>

// Linux lets a process use AMX once it has asked (ARCH_REQ_XCOMP_PERM for the tile data).
static bool allow_tiles() { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }

// GCC's intrinsics do not say that they read memory; so nothing that was written may wait in registers.
static inline void write_everything() { __asm__ volatile("" ::: "memory"); }

// Gives the calling thread eight tiles of 16 rows of 64 bytes, for as long as it lives.
class Tiles {
 public:
  Tiles() {
    struct {
      uint8_t palette, start, reserved[14];
      uint16_t bytes[16];
      uint8_t rows[16];
    } shape;
    memset(&shape, 0, sizeof shape);
    shape.palette = 1;
    for (int i = 0; i < 8; i++) {
      shape.bytes[i] = 64;
      shape.rows[i] = 16;
    }
    __asm__ volatile("" : : "r"(&shape) : "memory");
    _tile_loadconfig(&shape);
  }
  ~Tiles() { _tile_release(); }
};

static inline void multiply(float* C, long ldc, const bf16* A, long lda, const uint32_t* B, long ldb, long M, long N,
                            long K, bool add) {
  write_everything();
  for (long m = 0; m < M; m += 32)
    for (long n = 0; n < N; n += 32) {
      const bool low = m + 16 < M, right = n + 16 < N;  // whether there are second rows, second columns
      float* c = C + m * ldc + n;
      const bf16* a = A + m * lda;
      const uint32_t* b = B + n;
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      if (add) {
        _tile_loadd(0, c, ldc * 4);
        if (right) _tile_loadd(1, c + 16, ldc * 4);
        if (low) _tile_loadd(2, c + 16 * ldc, ldc * 4);
        if (low && right) _tile_loadd(3, c + 16 * ldc + 16, ldc * 4);
      }
      for (long k = 0; k < K; k += 32) {
        _tile_loadd(4, a + k, lda * 2);
        _tile_loadd(6, b + k / 2 * ldb, ldb * 4);
        _tile_dpbf16ps(0, 4, 6);
        if (right) {
          _tile_loadd(7, b + k / 2 * ldb + 16, ldb * 4);
          _tile_dpbf16ps(1, 4, 7);
        }
        if (low) {
          _tile_loadd(5, a + 16 * lda + k, lda * 2);
          _tile_dpbf16ps(2, 5, 6);
          if (right) _tile_dpbf16ps(3, 5, 7);
        }
      }
      _tile_stored(0, c, ldc * 4);
      if (right) _tile_stored(1, c + 16, ldc * 4);
      if (low) _tile_stored(2, c + 16 * ldc, ldc * 4);
      if (low && right) _tile_stored(3, c + 16 * ldc + 16, ldc * 4);
    }
}

#else

static bool allow_tiles() { return true; }
class Tiles {
 public:
  Tiles() {}
  ~Tiles() {}
};

// Adds the products of two neighbours in a row of A, broadcast, with 16 columns of B.
static inline Floats dot(Floats sum, uint32_t a, Words b) {
#ifdef HAS_BF16
  return _mm512_dpbf16_ps(sum, (__m512bh)words(a), (__m512bh)b);
#else
  const Floats even = _mm512_castsi512_ps(words(a << 16)), odd = _mm512_castsi512_ps(words(a & 0xffff0000u));
  sum = _mm512_fmadd_ps(even, _mm512_castsi512_ps(_mm512_slli_epi32(b, 16)), sum);
  return _mm512_fmadd_ps(odd, _mm512_castsi512_ps(_mm512_and_si512(b, words(0xffff0000u))), sum);
#endif
}

// Eight rows of C, and some vectors of 16 columns.
template <int VECTORS>
static inline void multiply_block(float* C, long ldc, const bf16* A, long lda, const uint32_t* B, long ldb, long K,
                                  bool add) {
  enum { ROWS = 8 };
  Floats sums[ROWS][VECTORS];
  for (int r = 0; r < ROWS; r++)
    for (int v = 0; v < VECTORS; v++)
      sums[r][v] = add ? _mm512_loadu_ps(C + r * ldc + kWidth * v) : _mm512_setzero_ps();
  for (long k = 0; k < K / 2; k++) {
    Words b[VECTORS];
    for (int v = 0; v < VECTORS; v++) b[v] = _mm512_loadu_si512(B + k * ldb + kWidth * v);
    for (int r = 0; r < ROWS; r++) {
      uint32_t a;
      memcpy(&a, A + r * lda + 2 * k, sizeof a);
      for (int v = 0; v < VECTORS; v++) sums[r][v] = dot(sums[r][v], a, b[v]);
    }
  }
  for (int r = 0; r < ROWS; r++)
    for (int v = 0; v < VECTORS; v++) _mm512_storeu_ps(C + r * ldc + kWidth * v, sums[r][v]);
}

static inline void multiply(float* C, long ldc, const bf16* A, long lda, const uint32_t* B, long ldb, long M, long N,
                            long K, bool add) {
  for (long n = 0; n < N; n += 32)
    for (long m = 0; m < M; m += 8)
      if (n + 16 < N)
        multiply_block<2>(C + m * ldc + n, ldc, A + m * lda, lda, B + n, ldb, K, add);
      else
        multiply_block<1>(C + m * ldc + n, ldc, A + m * lda, lda, B + n, ldb, K, add);
}

#endif

// ---- layouts of operands ------------------------------------------------------------------------------------

// Transposes 16 x 16 words in registers: first within pairs and fours of rows, then whole quarters of vectors.
static inline void transpose(Words rows[16]) {
  Words a[16], b[16];
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    a[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  // Of each group of four rows, b[4 g + c] has column c of every quarter.
  for (int g = 0; g < 16; g += 4) {
    b[g] = _mm512_unpacklo_epi64(a[g], a[g + 2]);
    b[g + 1] = _mm512_unpackhi_epi64(a[g], a[g + 2]);
    b[g + 2] = _mm512_unpacklo_epi64(a[g + 1], a[g + 3]);
    b[g + 3] = _mm512_unpackhi_epi64(a[g + 1], a[g + 3]);
  }
  for (int c = 0; c < 4; c++) {
    const Words even_top = _mm512_shuffle_i32x4(b[c], b[4 + c], 0x88), odd_top = _mm512_shuffle_i32x4(b[c], b[4 + c], 0xdd);
    const Words even_low = _mm512_shuffle_i32x4(b[8 + c], b[12 + c], 0x88);
    const Words odd_low = _mm512_shuffle_i32x4(b[8 + c], b[12 + c], 0xdd);
    rows[c] = _mm512_shuffle_i32x4(even_top, even_low, 0x88);
    rows[8 + c] = _mm512_shuffle_i32x4(even_top, even_low, 0xdd);
    rows[4 + c] = _mm512_shuffle_i32x4(odd_top, odd_low, 0x88);
    rows[12 + c] = _mm512_shuffle_i32x4(odd_top, odd_low, 0xdd);
  }
}

// Words (rows, columns) to (columns, rows); both are multiples of 16.
static inline void transpose_words(uint32_t* to, long ld_to, const uint32_t* from, long ld_from, long rows,
                                   long columns) {
  for (long i = 0; i < rows; i += 16)
    for (long j = 0; j < columns; j += 16) {
      Words block[16];
      for (int r = 0; r < 16; r++) block[r] = _mm512_loadu_si512(from + (i + r) * ld_from + j);
      transpose(block);
      for (int r = 0; r < 16; r++) _mm512_storeu_si512(to + (j + r) * ld_to + i, block[r]);
    }
}

// Copies rows of one head beside each other, and fills up with zeros.
static inline void gather_rows(bf16* to, const bf16* from, long stride, long size, long rows, long padded) {
  for (long i = 0; i < rows; i++) memcpy(to + i * size, from + i * stride, size * sizeof(bf16));
  memset(to + rows * size, 0, (padded - rows) * size * sizeof(bf16));
}

// bf16 (rows, size) to words (rows / 2, size): the operand B of a product that sums over rows.
static inline void pair_rows(uint32_t* to, const bf16* from, long size, long rows) {
  for (long i = 0; i < rows; i += 2)
    for (long e = 0; e < size; e += kWidth)
      _mm512_storeu_si512(to + i / 2 * size + e, paired_rows(from + i * size + e, from + (i + 1) * size + e));
}

// bf16 (rows, size) to words (size / 2, rows): the operand B of a product that sums over the elements of a row.
static inline void turn_rows(uint32_t* to, long ld_to, const bf16* from, long size, long rows) {
  transpose_words(to, ld_to, (const uint32_t*)from, size / 2, rows, size / 2);
}

// fp32 (size, columns) to bf16 rows, one for each of the first columns, times a factor of each. size is a multiple
// of 32.
static inline void scatter_columns(bf16* to, long stride, const float* from, long ld_from, long size, long columns,
                                   const float* factors) {
  for (long i = 0; i < columns; i += kWidth) {
    const Floats factor = _mm512_loadu_ps(factors + i);
    for (long e = 0; e < size; e += 32) {
      Words block[16];
      for (int r = 0; r < 16; r++) {
        const float* row = from + (e + 2 * r) * ld_from + i;
        block[r] = pairs(_mm512_mul_ps(factor, _mm512_loadu_ps(row)), _mm512_mul_ps(factor, _mm512_loadu_ps(row + ld_from)));
      }
      transpose(block);
      for (int r = 0; r < 16 && i + r < columns; r++) _mm512_storeu_si512(to + (i + r) * stride + e, block[r]);
    }
  }
}
