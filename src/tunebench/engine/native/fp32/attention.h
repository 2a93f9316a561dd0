// Attention of texts that lie one after another, forward and backward, with dropout of the probabilities.
//
// One task is one head of one text. Scores are kept transposed, keys by queries, so that a softmax goes down the
// lanes of vectors. No probabilities leave the cache: the backward pass computes them again, from the logarithm of
// each query's sum.
#pragma once

#include "products.h"

// Rows with some distance, of which the heads lie side by side.
struct Rows {
  float* data;
  int64_t stride;
};

struct Task {
  long head, size, queries, keys, first_query, first_key;
  Task(const Texts& texts, const Heads& heads, long number) {
    const long text = number / heads.count;
    head = number % heads.count, size = heads.size;
    queries = texts.queries[text], keys = texts.keys[text];
    first_query = texts.first_query[text], first_key = texts.first_key[text];
  }
  float* query(const Rows& rows, long at) const { return rows.data + (first_query + at) * rows.stride + head * size; }
  float* key(const Rows& rows, long at) const { return rows.data + (first_key + at) * rows.stride + head * size; }
};

static inline void gather_rows(float* to, const float* from, long stride, long size, long count) {
  for (long i = 0; i < count; i++) memcpy(to + i * size, from + i * stride, size * sizeof(float));
}

// (count, size) to (size, width), zero behind the last row.
static inline void turn_rows(float* to, const float* from, long stride, long size, long count, long width) {
  for (long e = 0; e < size; e++) {
    for (long i = 0; i < count; i++) to[e * width + i] = from[i * stride + e];
    for (long i = count; i < width; i++) to[e * width + i] = 0;
  }
}

// (size, width) to (count, size), each row by a factor of its own.
static inline void scatter_columns(float* to, long stride, const float* from, long width, long size, long count,
                                   const float* factors) {
  for (long i = 0; i < count; i++)
    for (long e = 0; e < size; e++) to[i * stride + e] = from[e * width + i] * factors[i];
}

// Places of the mask: two neighbouring keys share one, and a query has 4,096 of them.
static inline Words places_of(long first_query) { return counted_from((uint32_t)first_query) << 12; }

// Turns the scores (keys, stride) of a vector of queries into unscaled probabilities, dropped ones at zero. Returns the
// sums, dropped ones included, and the largest exponent.
static inline Floats softmax(float* scores, long stride, long keys, float factor, const Mask* mask, long query,
                             Floats* exponent) {
  Floats top = load(scores);
  for (long j = 1; j < keys; j++) top = larger(top, load(scores + j * stride));
  top = *exponent = top * factor;
  Floats sum{};
  const Words places = places_of(query);
  for (long j = 0; j < keys; j += 2) {
    const bool both = j + 1 < keys;
    float *first = scores + j * stride, *second = first + (both ? stride : 0);
    Floats even = power_of_two(load(first) * factor - top), odd = power_of_two(load(second) * factor - top);
    sum += both ? even + odd : even;
    if (mask != nullptr) {
      Kept kept[2];
      mask->kept(places + (uint32_t)(j / 2), kept, kept + 1);
      even = where(kept[0], even), odd = where(kept[1], odd);
    }
    if (both) store(second, odd);
    store(first, even);
  }
  return sum;
}

enum { kQueries = 32 };  // of a block: a multiple of two vectors

static void attend(const Task& task, float scaling, const Rows& q, const Rows& k, const Rows& v, const Rows& out,
                   float* log_sums, const Dropout& dropout, uint32_t number) {
  const long size = task.size;
  scratch.begin((2 * task.keys * size + task.keys * kQueries + 2 * size * kQueries) * sizeof(float));
  float *keys = scratch.take<float>(task.keys * size), *values = scratch.take<float>(task.keys * size);
  float* scores = scratch.take<float>(task.keys * kQueries);
  float *queries = scratch.take<float>(size * kQueries), *result = scratch.take<float>(size * kQueries);
  gather_rows(keys, task.key(k, 0), k.stride, size, task.keys);
  gather_rows(values, task.key(v, 0), v.stride, size, task.keys);
  const Mask mask(dropout, number);
  const float factor = scaling * kLog2E;
  for (long i = 0; i < task.queries; i += kQueries) {
    const long count = smaller(task.queries - i, kQueries), width = rounded_up(count, kWide * kWidth);
    turn_rows(queries, task.query(q, i), q.stride, size, count, width);
    multiply(scores, width, {keys, size, 1}, queries, width, task.keys, width, size, false);
    float factors[kQueries];
    for (long w = 0; w < width; w += kWidth) {
      Floats exponent;
      const Floats sum =
          softmax(scores + w, width, task.keys, factor, dropout.threshold ? &mask : nullptr, i + w, &exponent);
      store(factors + w, dropout.scale / sum);
      for (long x = 0; log_sums != nullptr && x < kWidth && w + x < count; x++)
        log_sums[task.first_query + i + w + x] = exponent[x] + log2f(sum[x]);
    }
    multiply(result, width, {values, 1, size}, scores, width, size, width, task.keys, false);
    scatter_columns(task.query(out, i), out.stride, result, width, size, count, factors);
  }
}

// inputs: query, key, value. log_sums (heads, rows of queries) may be null where there will be no backward pass.
extern "C" void attention_forward(const Texts* texts, const Heads* heads, const Rows* inputs, const Rows* output,
                                  float* log_sums, int64_t rows, const Dropout* dropout) {
#pragma omp parallel for schedule(dynamic, 1)
  for (long number = 0; number < texts->count * heads->count; number++) {
    const Task task(*texts, *heads, number);
    float* own = log_sums == nullptr ? nullptr : log_sums + task.head * rows;
    attend(task, heads->scaling, inputs[0], inputs[1], inputs[2], *output, own, *dropout, (uint32_t)number);
  }
}

// Turns a block of scores, and of products of values and gradients, both (keys, width), into the probabilities after
// dropout and the gradients of the scores. first is the place of the block's first key and query.
template <bool DROPS>
static inline void differentiate_block(float* scores, float* products, long keys, long width, const float* log_sums,
                                       const float* inner, float factor, const Dropout& dropout, const Mask& mask,
                                       long first_key, long first_query) {
  for (long w = 0; w < width; w += kWidth) {
    const Floats log_sum = load(log_sums + w), minus = load(inner + w);
    const Words places = places_of(first_query + w);
    for (long j = 0; j < keys; j += 2) {
      Kept kept[2];
      if (DROPS) mask.kept(places + (uint32_t)((first_key + j) / 2), kept, kept + 1);
      for (int key = 0; key < 2 && j + key < keys; key++) {
        float *score = scores + (j + key) * width + w, *product = products + (j + key) * width + w;
        const Floats p = power_of_two(load(score) * factor - log_sum);
        const Floats d = load(product) * dropout.scale;
        store(score, DROPS ? where(kept[key], p) : p);
        store(product, p * ((DROPS ? where(kept[key], d) : d) + minus));
      }
    }
  }
}

enum { kKeys = 128 };  // of a block of the backward pass: even

static void differentiate(const Task& task, float scaling, const Rows& q, const Rows& k, const Rows& v, const Rows& out,
                          const Rows& gradient, const float* logs, const Rows& gq, const Rows& gk, const Rows& gv,
                          const Dropout& dropout, uint32_t number) {
  const long size = task.size;
  scratch.begin((4 * task.keys * size + 5 * kQueries * size + 2 * kKeys * kQueries) * sizeof(float));
  float *keys = scratch.take<float>(task.keys * size), *values = scratch.take<float>(task.keys * size);
  float *key_gradients = scratch.take<float>(task.keys * size), *value_gradients = scratch.take<float>(task.keys * size);
  float *queries = scratch.take<float>(kQueries * size), *queries_turned = scratch.take<float>(kQueries * size);
  float *outs = scratch.take<float>(kQueries * size), *outs_turned = scratch.take<float>(kQueries * size);
  float* query_gradients = scratch.take<float>(kQueries * size);
  float *scores = scratch.take<float>(kKeys * kQueries), *products = scratch.take<float>(kKeys * kQueries);
  gather_rows(keys, task.key(k, 0), k.stride, size, task.keys);
  gather_rows(values, task.key(v, 0), v.stride, size, task.keys);
  const Mask mask(dropout, number);
  float log_sums[kQueries], inner[kQueries], scalings[kQueries];
  for (float& one : scalings) one = scaling;
  for (long i = 0; i < task.queries; i += kQueries) {
    const long count = smaller(task.queries - i, kQueries), width = rounded_up(count, kWide * kWidth);
    gather_rows(queries, task.query(q, i), q.stride, size, count);
    gather_rows(outs, task.query(gradient, i), gradient.stride, size, count);
    turn_rows(queries_turned, queries, size, size, count, width);
    turn_rows(outs_turned, outs, size, size, count, width);
    for (long x = 0; x < width; x++) {
      // Of each query: minus the product of its output and its gradient. Of padding the gradients are zero.
      Floats sum{};
      for (long e = 0; x < count && e < size; e += kWidth) sum += load(outs + x * size + e) * load(task.query(out, i + x) + e);
      inner[x] = -total(sum);
      log_sums[x] = x < count ? logs[task.first_query + i + x] : 0;
    }
    for (long j = 0; j < task.keys; j += kKeys) {
      const long here = smaller(task.keys - j, kKeys);
      multiply(scores, width, {keys + j * size, size, 1}, queries_turned, width, here, width, size, false);
      multiply(products, width, {values + j * size, size, 1}, outs_turned, width, here, width, size, false);
      (dropout.threshold ? differentiate_block<true> : differentiate_block<false>)(
          scores, products, here, width, log_sums, inner, scaling * kLog2E, dropout, mask, j, i);
      multiply(value_gradients + j * size, size, {scores, width, 1}, outs, size, here, size, count, i > 0);
      multiply(key_gradients + j * size, size, {products, width, 1}, queries, size, here, size, count, i > 0);
      multiply(query_gradients, width, {keys + j * size, 1, size}, products, width, size, width, here, j > 0);
    }
    scatter_columns(task.query(gq, i), gq.stride, query_gradients, width, size, count, scalings);
  }
  for (long j = 0; j < task.keys; j++)
    for (long e = 0; e < size; e += kWidth) {
      store(task.key(gk, j) + e, load(key_gradients + j * size + e) * scaling);
      store(task.key(gv, j) + e, load(value_gradients + j * size + e) * dropout.scale);
    }
}

// Writes the gradients of what attention_forward read, in the same layout.
extern "C" void attention_backward(const Texts* texts, const Heads* heads, const Rows* inputs, const Rows* outputs,
                                   const float* log_sums, int64_t rows, const Rows* gradients, const Dropout* dropout) {
  // inputs: query, key, value; outputs: the forward pass's, and its gradient; gradients: of the inputs.
#pragma omp parallel for schedule(dynamic, 1)
  for (long number = 0; number < texts->count * heads->count; number++) {
    const Task task(*texts, *heads, number);
    differentiate(task, heads->scaling, inputs[0], inputs[1], inputs[2], outputs[0], outputs[1],
                  log_sums + task.head * rows, gradients[0], gradients[1], gradients[2], *dropout, (uint32_t)number);
  }
}
