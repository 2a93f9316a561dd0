// Small matrix products: C (M, N) = A (M, K) B (K, N), or C += A B. N is a multiple of two vectors. A may be transposed:
// its rows and columns have strides.
#pragma once

#include "vectors.h"

struct Matrix {
  const float* data;
  long row, column;  // strides
};

enum { kTall = 4, kWide = 2 };  // rows, and vectors of columns, whose sums the registers hold at a time

template <int TALL>
static inline void multiply_block(float* c, long ldc, Matrix a, const float* b, long ldb, long depth, bool add) {
  Floats sum[TALL][kWide];
  for (int i = 0; i < TALL; i++)
    for (int w = 0; w < kWide; w++) sum[i][w] = add ? load(c + i * ldc + w * kWidth) : Floats{};
  for (long k = 0; k < depth; k++) {
    Floats row[kWide];
    for (int w = 0; w < kWide; w++) row[w] = load(b + k * ldb + w * kWidth);
    for (int i = 0; i < TALL; i++) {
      const Floats factor = floats(a.data[i * a.row + k * a.column]);
      for (int w = 0; w < kWide; w++) sum[i][w] += factor * row[w];
    }
  }
  for (int i = 0; i < TALL; i++)
    for (int w = 0; w < kWide; w++) store(c + i * ldc + w * kWidth, sum[i][w]);
}

static void multiply(float* C, long ldc, Matrix A, const float* B, long ldb, long M, long N, long K, bool add) {
  for (long n = 0; n < N; n += kWide * kWidth) {
    long m = 0;
    for (; m + kTall <= M; m += kTall)
      multiply_block<kTall>(C + m * ldc + n, ldc, {A.data + m * A.row, A.row, A.column}, B + n, ldb, K, add);
    for (; m < M; m++)
      multiply_block<1>(C + m * ldc + n, ldc, {A.data + m * A.row, A.row, A.column}, B + n, ldb, K, add);
  }
}
