// What happens to every row by itself: dropout, residual connection and LayerNorm; GELU; with the sums over rows that
// are the gradients of biases and norms. D, the size of a row, is a multiple of 32.
#pragma once

#include "vectors.h"

// Adds up parts (kParts, count), in their order.
static void add_parts(float* to, const float* parts, long count) {
#pragma omp for schedule(static)
  for (long c = 0; c < count; c += kWidth) {
    Floats sum = load(parts + c);
    for (long part = 1; part < kParts; part++) sum += load(parts + part * count + c);
    store(to + c, sum);
  }
}

// Which elements of a row are kept: of the vector at column c, and of the one 16 columns further on, which shares its
// places. c % 32 is below 16.
static inline void kept_of_row(const Dropout& dropout, const Mask& mask, long row, long size, long c, Kept kept[2]) {
  kept[0] = kept[1] = Kept{} - 1;
  if (dropout.threshold) mask.kept(counted_from((uint32_t)(row * (size / 2) + c / 32 * 16 + c % 32)), kept, kept + 1);
}

// Calls something with each vector's column, and which half of 32 columns it is in, such that two vectors that share
// places follow each other.
template <class Function>
static inline void each_vector(long size, Function function) {
  for (long c = 0; c < size; c += 32)
    for (long within = 0; within < 16; within += kWidth) {
      function(c + within, 0);
      function(c + within + 16, 1);
    }
}

// sums = residual + dropout(x + x_bias), and y its norm. x_bias may be null. means and deviations (rows,): the mean, and
// 1 over the standard deviation.
extern "C" void norm_forward(const Norm* norm, const float* x, const float* x_bias, const float* residual, float* sums,
                             float* y, float* means, float* deviations, const Dropout* dropout) {
  const long size = norm->size;
  const Mask mask(*dropout);
#pragma omp parallel for schedule(static)
  for (long i = 0; i < norm->rows; i++) {
    const float *from = x + i * size, *beside = residual + i * size;
    float *row = sums + i * size, *to = y + i * size;
    Floats sum{}, squares{};
    Kept kept[2];
    each_vector(size, [&](long c, int half) {
      if (half == 0) kept_of_row(*dropout, mask, i, size, c, kept);
      const Floats added = x_bias == nullptr ? load(from + c) : load(from + c) + load(x_bias + c);
      const Floats found = load(beside + c) + where(kept[half], added * dropout->scale);
      store(row + c, found);
      sum += found;
    });
    const float mean = means[i] = total(sum) / size;
    for (long c = 0; c < size; c += kWidth) {
      const Floats off = load(row + c) - mean;
      squares += off * off;
    }
    const float deviation = deviations[i] = 1.0f / sqrtf(total(squares) / size + norm->epsilon);
    for (long c = 0; c < size; c += kWidth)
      store(to + c, (load(row + c) - mean) * deviation * load(norm->weight + c) + load(norm->bias + c));
  }
}

// Gradients of the residual and of x, and of weight, bias and x_bias (3, D). Without dropout the first two are the same,
// and x_gradient may be null. totals may be null where nobody learns from them; parts (kParts, 3, D) is memory to work in.
extern "C" void norm_backward(const Norm* norm, const float* gradient, const float* sums, const float* means,
                              const float* deviations, float* residual_gradient, float* x_gradient, float* totals,
                              float* parts, const Dropout* dropout) {
  const long size = norm->size;
  const Mask mask(*dropout);
  const bool learns = totals != nullptr;
#pragma omp parallel
  {
    scratch.begin(3 * size * sizeof(float));
    float* unused = scratch.take<float>(3 * size);
#pragma omp for schedule(static)
    for (long number = 0; number < kParts; number++) {
      float* weight_total = learns ? parts + number * 3 * size : unused;
      float *bias_total = weight_total + size, *x_total = bias_total + size;
      memset(weight_total, 0, 3 * size * sizeof(float));
      const Part part(norm->rows, number);
      for (long i = part.begin; i < part.end; i++) {
        const float *given = gradient + i * size, *row = sums + i * size, mean = means[i], deviation = deviations[i];
        Floats first{}, second{};
        for (long c = 0; c < size; c += kWidth) {
          const Floats g = load(given + c), normed = (load(row + c) - mean) * deviation;
          const Floats weighted = g * load(norm->weight + c);
          add_to(weight_total + c, g * normed);
          add_to(bias_total + c, g);
          first += weighted;
          second += weighted * normed;
        }
        const float along_one = total(first) / size, along_row = total(second) / size;
        Kept kept[2];
        each_vector(size, [&](long c, int half) {
          const Floats normed = (load(row + c) - mean) * deviation;
          Floats found = deviation * (load(given + c) * load(norm->weight + c) - along_one - normed * along_row);
          store(residual_gradient + i * size + c, found);
          if (dropout->threshold) {
            if (half == 0) kept_of_row(*dropout, mask, i, size, c, kept);
            found = where(kept[half], found * dropout->scale);
            store(x_gradient + i * size + c, found);
          }
          add_to(x_total + c, found);
        });
      }
    }
    if (learns) add_parts(totals, parts, 3 * size);
  }
}

// Elements of a row, with those of a bias from column c on; bias may be null.
static inline Floats biased(const float* x, const float* bias, long c) {
  return bias == nullptr ? load(x) : load(x) + load(bias + c);
}

// y = gelu(x + bias), with the normal distribution itself and not with a tanh; bias may be null.
extern "C" void gelu_forward(const float* x, const float* bias, float* y, int64_t rows, int64_t size) {
#pragma omp parallel for schedule(static)
  for (long i = 0; i < rows; i++)
    for (long c = 0; c < size; c += kWidth) {
      const Floats value = biased(x + i * size + c, bias, c);
      Floats probability, density;
      normal(value, &probability, &density);
      store(y + i * size + c, value * probability);
    }
}

// The gradient of x, and its sums over rows (D), which are the gradient of the bias; these may be null, and then parts
// (kParts, D) too.
extern "C" void gelu_backward(const float* gradient, const float* x, const float* bias, float* x_gradient, float* totals,
                              float* parts, int64_t rows, int64_t size) {
  const float root = 0.398942280f;  // 1 / sqrt(2 pi)
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (long number = 0; number < kParts; number++) {
      float* sums = totals == nullptr ? nullptr : parts + number * size;
      if (sums != nullptr) memset(sums, 0, size * sizeof(float));
      const Part part(rows, number);
      for (long i = part.begin; i < part.end; i++)
        for (long c = 0; c < size; c += kWidth) {
          const Floats value = biased(x + i * size + c, bias, c);
          Floats probability, density;
          normal(value, &probability, &density);
          const Floats found = load(gradient + i * size + c) * (value * density * root + probability);
          store(x_gradient + i * size + c, found);
          if (sums != nullptr) add_to(sums + c, found);
        }
    }
    if (totals != nullptr) add_parts(totals, parts, size);
  }
}

// y = dropout(x), scaled. Applied to a gradient, it is its own backward pass.
extern "C" void dropout_rows(const float* x, float* y, int64_t rows, int64_t size, const Dropout* dropout) {
  const Mask mask(*dropout);
#pragma omp parallel for schedule(static)
  for (long i = 0; i < rows; i++) {
    Kept kept[2];
    each_vector(size, [&](long c, int half) {
      if (half == 0) kept_of_row(*dropout, mask, i, size, c, kept);
      store(y + i * size + c, where(kept[half], load(x + i * size + c) * dropout->scale));
    });
  }
}

// Sums over rows (D). parts (kParts, D).
extern "C" void column_sums(const float* x, int64_t stride, float* totals, float* parts, int64_t rows, int64_t size) {
#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (long number = 0; number < kParts; number++) {
      float* sums = parts + number * size;
      memset(sums, 0, size * sizeof(float));
      const Part part(rows, number);
      for (long i = part.begin; i < part.end; i++)
        for (long c = 0; c < size; c += kWidth) add_to(sums + c, load(x + i * stride + c));
    }
    add_parts(totals, parts, size);
  }
}
