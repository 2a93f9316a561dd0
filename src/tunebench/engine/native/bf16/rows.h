// What happens to every row by itself: dropout, residual connection and LayerNorm; GELU; with the sums over rows that
// are the gradients of biases and norms. D, the size of a row, is a multiple of 32.
#pragma once

#include "vectors.h"

// Adds up parts (kParts, count), in their order.
static void add_parts(float* to, const float* parts, long count) {
#pragma omp for schedule(static)
  for (long c = 0; c < count; c += kWidth) {
    Floats sum = _mm512_loadu_ps(parts + c);
    for (long part = 1; part < kParts; part++) sum = _mm512_add_ps(sum, _mm512_loadu_ps(parts + part * count + c));
    _mm512_storeu_ps(to + c, sum);
  }
}

static inline void add_to(float* place, Floats x) { _mm512_storeu_ps(place, _mm512_add_ps(x, _mm512_loadu_ps(place))); }

// The place of a mask for the 32 elements of a row from column c on: the 16 first, and the 16 that follow them.
static inline Words row_places(long row, long size, long c) { return counted_from((uint32_t)(row * (size / 2) + c / 2)); }

// sums = residual + dropout(x + x_bias), and y its norm. x_bias may be null. means and deviations (rows,): the mean, and
// 1 over the standard deviation.
extern "C" void norm_forward(const Norm* norm, const bf16* x, const float* x_bias, const bf16* residual, bf16* sums, bf16* y,
                             float* means, float* deviations, const Dropout* dropout) {
  const long size = norm->size;
  const Mask mask(*dropout);
  const Floats scale = _mm512_set1_ps(dropout->scale);
#pragma omp parallel
  {
    scratch.begin(size * sizeof(float));
    float* row = scratch.take<float>(size);
#pragma omp for schedule(static)
    for (long i = 0; i < norm->rows; i++) {
      Floats total = _mm512_setzero_ps(), squares = total;
      for (long c = 0; c < size; c += 32) {
        __mmask16 kept[2] = {0xffff, 0xffff};
        if (dropout->threshold) mask.kept(row_places(i, size, c), kept, kept + 1);
        Floats sum[2];
        for (int half = 0; half < 2; half++) {
          const long at = c + kWidth * half;
          Floats added = load(x + i * size + at);
          if (x_bias != nullptr) added = _mm512_add_ps(added, _mm512_loadu_ps(x_bias + at));
          sum[half] = _mm512_mask3_fmadd_ps(added, scale, load(residual + i * size + at), kept[half]);
        }
        store(sums + i * size + c, sum[0], sum[1]);
        for (int half = 0; half < 2; half++) {  // what the backward pass will read
          sum[half] = load(sums + i * size + c + kWidth * half);
          _mm512_storeu_ps(row + c + kWidth * half, sum[half]);
        }
        total = _mm512_add_ps(total, _mm512_add_ps(sum[0], sum[1]));
      }
      const float mean = means[i] = _mm512_reduce_add_ps(total) / size;
      const Floats middle = _mm512_set1_ps(mean);
      for (long c = 0; c < size; c += kWidth) {
        const Floats off = _mm512_sub_ps(_mm512_loadu_ps(row + c), middle);
        squares = _mm512_fmadd_ps(off, off, squares);
      }
      const float deviation = deviations[i] = 1.0f / sqrtf(_mm512_reduce_add_ps(squares) / size + norm->epsilon);
      const Floats factor = _mm512_set1_ps(deviation);
      for (long c = 0; c < size; c += kWidth) {
        const Floats normed = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(row + c), middle), factor);
        store(y + i * size + c, _mm512_fmadd_ps(normed, _mm512_loadu_ps(norm->weight + c), _mm512_loadu_ps(norm->bias + c)));
      }
    }
  }
}

// Gradients of the residual and of x, and of weight, bias and x_bias (3, D). Without dropout the first two are the same,
// and x_gradient may be null. totals may be null where nobody learns from them; parts (kParts, 3, D) is memory to work in.
extern "C" void norm_backward(const Norm* norm, const bf16* gradient, const bf16* sums, const float* means,
                              const float* deviations, bf16* residual_gradient, bf16* x_gradient, float* totals, float* parts,
                              const Dropout* dropout) {
  const long size = norm->size;
  const Mask mask(*dropout);
  const Floats scale = _mm512_set1_ps(dropout->scale);
  const bool learns = totals != nullptr;
#pragma omp parallel
  {
    scratch.begin(2 * size * sizeof(float));
    float *weighted = scratch.take<float>(size), *normed = scratch.take<float>(size);
#pragma omp for schedule(static)
    for (long number = 0; number < kParts; number++) {
      float *weight_total = nullptr, *bias_total = nullptr, *x_total = nullptr;
      if (learns) {
        weight_total = parts + number * 3 * size, bias_total = weight_total + size, x_total = bias_total + size;
        memset(weight_total, 0, 3 * size * sizeof(float));
      }
      const Part part(norm->rows, number);
      for (long i = part.begin; i < part.end; i++) {
        const Floats middle = _mm512_set1_ps(means[i]), factor = _mm512_set1_ps(deviations[i]);
        Floats first = _mm512_setzero_ps(), second = first;
        for (long c = 0; c < size; c += kWidth) {
          const Floats g = load(gradient + i * size + c);
          const Floats n = _mm512_mul_ps(_mm512_sub_ps(load(sums + i * size + c), middle), factor);
          const Floats w = _mm512_mul_ps(g, _mm512_loadu_ps(norm->weight + c));
          if (learns) {
            add_to(weight_total + c, _mm512_mul_ps(g, n));
            add_to(bias_total + c, g);
          }
          _mm512_storeu_ps(weighted + c, w);
          _mm512_storeu_ps(normed + c, n);
          first = _mm512_add_ps(first, w);
          second = _mm512_fmadd_ps(w, n, second);
        }
        const Floats along_one = _mm512_set1_ps(_mm512_reduce_add_ps(first) / size);
        const Floats along_row = _mm512_set1_ps(_mm512_reduce_add_ps(second) / size);
        for (long c = 0; c < size; c += 32) {
          Floats d[2];
          for (int half = 0; half < 2; half++) {
            const long at = c + kWidth * half;
            const Floats off = _mm512_sub_ps(_mm512_loadu_ps(weighted + at), along_one);
            d[half] = _mm512_mul_ps(factor, _mm512_fnmadd_ps(_mm512_loadu_ps(normed + at), along_row, off));
          }
          store(residual_gradient + i * size + c, d[0], d[1]);
          if (dropout->threshold) {
            __mmask16 kept[2];
            mask.kept(row_places(i, size, c), kept, kept + 1);
            for (int half = 0; half < 2; half++) d[half] = _mm512_maskz_mul_ps(kept[half], d[half], scale);
            store(x_gradient + i * size + c, d[0], d[1]);
          }
          for (int half = 0; learns && half < 2; half++) add_to(x_total + c + kWidth * half, d[half]);
        }
      }
    }
    if (learns) add_parts(totals, parts, 3 * size);
  }
}

// Elements of a row, with those of a bias from column c on; bias may be null.
static inline Floats biased(const bf16* x, const float* bias, long c) {
  return bias == nullptr ? load(x) : _mm512_add_ps(load(x), _mm512_loadu_ps(bias + c));
}

// y = gelu(x + bias), with the normal distribution itself and not with a tanh; bias may be null.
extern "C" void gelu_forward(const bf16* x, const float* bias, bf16* y, int64_t rows, int64_t size) {
#pragma omp parallel for schedule(static)
  for (long i = 0; i < rows; i++)
    for (long c = 0; c < size; c += 32) {
      Floats found[2];
      for (int half = 0; half < 2; half++) {
        const long at = c + kWidth * half;
        const Floats value = biased(x + i * size + at, bias, at);
        Floats probability, density;
        normal(value, &probability, &density);
        found[half] = _mm512_mul_ps(value, probability);
      }
      store(y + i * size + c, found[0], found[1]);
    }
}

// The gradient of x, and its sums over rows (D), which are the gradient of the bias; these may be null, and then parts
// (kParts, D) too.
extern "C" void gelu_backward(const bf16* gradient, const bf16* x, const float* bias, bf16* x_gradient, float* totals,
                              float* parts, int64_t rows, int64_t size) {
  const Floats root = _mm512_set1_ps(0.398942280f);  // 1 / sqrt(2 pi)
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (long number = 0; number < kParts; number++) {
      float* total = totals == nullptr ? nullptr : parts + number * size;
      if (total != nullptr) memset(total, 0, size * sizeof(float));
      const Part part(rows, number);
      for (long i = part.begin; i < part.end; i++)
        for (long c = 0; c < size; c += 32) {
          Floats found[2];
          for (int half = 0; half < 2; half++) {
            const long at = c + kWidth * half;
            const Floats value = biased(x + i * size + at, bias, at);
            Floats probability, density;
            normal(value, &probability, &density);
            const Floats slope = _mm512_fmadd_ps(_mm512_mul_ps(value, density), root, probability);
            found[half] = _mm512_mul_ps(load(gradient + i * size + at), slope);
            if (total != nullptr) add_to(total + at, found[half]);
          }
          store(x_gradient + i * size + c, found[0], found[1]);
        }
    }
    if (totals != nullptr) add_parts(totals, parts, size);
  }
}

// y = dropout(x), scaled. Applied to a gradient, it is its own backward pass.
extern "C" void dropout_rows(const bf16* x, bf16* y, int64_t rows, int64_t size, const Dropout* dropout) {
  const Mask mask(*dropout);
  const Floats scale = _mm512_set1_ps(dropout->scale);
#pragma omp parallel for schedule(static)
  for (long i = 0; i < rows; i++)
    for (long c = 0; c < size; c += 32) {
      __mmask16 kept[2];
      mask.kept(row_places(i, size, c), kept, kept + 1);
      Floats found[2];
      for (int half = 0; half < 2; half++)
        found[half] = _mm512_maskz_mul_ps(kept[half], load(x + i * size + c + kWidth * half), scale);
      store(y + i * size + c, found[0], found[1]);
    }
}

// Sums over rows (D). parts (kParts, D).
extern "C" void column_sums(const bf16* x, int64_t stride, float* totals, float* parts, int64_t rows, int64_t size) {
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (long number = 0; number < kParts; number++) {
      float* total = parts + number * size;
      memset(total, 0, size * sizeof(float));
      const Part part(rows, number);
      for (long i = part.begin; i < part.end; i++)
        for (long c = 0; c < size; c += kWidth) add_to(total + c, load(x + i * stride + c));
    }
    add_parts(totals, parts, size);
  }
}
