// Attention of texts that lie one after another, forward and backward, with dropout of the probabilities.
//
// One task is one head of one text. Scores are kept transposed, keys by queries, so that a softmax goes down the
// lanes of vectors. No probabilities leave the cache: the backward pass computes them again, from the logarithm of
// each query's sum.
#pragma once

#include "products.h"

// Rows of bf16 with some distance, of which the heads lie side by side.
struct Rows {
  bf16* data;
  int64_t stride;
};

struct Task {
  long head, queries, keys, padded;  // keys padded to a multiple of 32
  long first_query, first_key, column;
  Task(const Texts& texts, const Heads& heads, long number) {
    const long text = number / heads.count;
    head = number % heads.count;
    queries = texts.queries[text], keys = texts.keys[text], padded = rounded_up(keys, 32);
    first_query = texts.first_query[text], first_key = texts.first_key[text];
    column = head * heads.size;
  }
  const bf16* query(const Rows& rows, long at) const { return rows.data + (first_query + at) * rows.stride + column; }
  bf16* query(Rows& rows, long at) const { return rows.data + (first_query + at) * rows.stride + column; }
  const bf16* key(const Rows& rows) const { return rows.data + first_key * rows.stride + column; }
  bf16* key(Rows& rows, long at) const { return rows.data + (first_key + at) * rows.stride + column; }
};

// Places of the mask: two neighbouring keys share one, and a query has 4,096 of them.
static inline Words places_of(long first_query) { return _mm512_slli_epi32(counted_from((uint32_t)first_query), 12); }

// Turns 16 queries' scores (keys, 32) into pairs of unscaled probabilities, dropped ones at zero. Returns the sums,
// dropped ones included, and the largest exponent.
static inline Floats softmax(const float* scores, uint32_t* to, long keys, Floats factor, const Mask* mask, long query,
                             Floats* exponent) {
  Floats even_top = _mm512_loadu_ps(scores), odd_top = even_top;
  for (long j = 0; j + 1 < keys; j += 2) {
    even_top = _mm512_max_ps(even_top, _mm512_loadu_ps(scores + j * 32));
    odd_top = _mm512_max_ps(odd_top, _mm512_loadu_ps(scores + (j + 1) * 32));
  }
  even_top = _mm512_max_ps(even_top, _mm512_loadu_ps(scores + (keys - 1) * 32));
  const Floats top = *exponent = _mm512_mul_ps(_mm512_max_ps(even_top, odd_top), factor);
  Floats even_sum = _mm512_setzero_ps(), odd_sum = even_sum;
  const Words places = places_of(query);
  for (long j = 0; j < keys; j += 2) {
    Floats even = power_of_two(_mm512_fmsub_ps(_mm512_loadu_ps(scores + j * 32), factor, top));
    Floats odd = _mm512_setzero_ps();
    if (j + 1 < keys) odd = power_of_two(_mm512_fmsub_ps(_mm512_loadu_ps(scores + (j + 1) * 32), factor, top));
    even_sum = _mm512_add_ps(even_sum, even);
    odd_sum = _mm512_add_ps(odd_sum, odd);
    if (mask != nullptr) {
      __mmask16 first, second;
      mask->kept(_mm512_add_epi32(places, words((uint32_t)(j / 2))), &first, &second);
      even = _mm512_maskz_mov_ps(first, even);
      odd = _mm512_maskz_mov_ps(second, odd);
    }
    _mm512_storeu_si512(to + j / 2 * 32, pairs(even, odd));
  }
  return _mm512_add_ps(even_sum, odd_sum);
}

static void attend(const Task& task, const Heads& heads, const Rows& q, const Rows& k, const Rows& v, Rows& out,
                   float* log_sums, const Dropout& dropout, uint32_t number) {
  enum { BLOCK = 32 };  // queries
  const long size = heads.size, padded = task.padded;
  scratch.begin(padded * size * 8 + padded * BLOCK * 6 + BLOCK * size * 8);
  bf16* keys = scratch.take<bf16>(padded * size);
  bf16* values = scratch.take<bf16>(padded * size);
  uint32_t* value_pairs = scratch.take<uint32_t>(padded / 2 * size);
  uint32_t* values_turned = scratch.take<uint32_t>(size * padded / 2);
  float* scores = scratch.take<float>(padded * BLOCK);
  uint32_t* probabilities = scratch.take<uint32_t>(padded / 2 * BLOCK);
  bf16* queries = scratch.take<bf16>(BLOCK * size);
  uint32_t* queries_turned = scratch.take<uint32_t>(size / 2 * BLOCK);
  float* result = scratch.take<float>(size * BLOCK);
  gather_rows(keys, task.key(k), k.stride, size, task.keys, padded);
  gather_rows(values, task.key(v), v.stride, size, task.keys, padded);
  pair_rows(value_pairs, values, size, padded);
  transpose_words(values_turned, padded / 2, value_pairs, size, padded / 2, size);
  memset(probabilities, 0, padded / 2 * BLOCK * sizeof(uint32_t));  // those of padding stay at zero
  const Mask mask(dropout, number);
  const Floats factor = _mm512_set1_ps(heads.scaling * kLog2E);
  for (long i = 0; i < task.queries; i += BLOCK) {
    const long count = smaller(task.queries - i, BLOCK), width = rounded_up(count, 16);
    gather_rows(queries, task.query(q, i), q.stride, size, count, width);
    turn_rows(queries_turned, BLOCK, queries, size, width);
    multiply(scores, BLOCK, keys, size, queries_turned, BLOCK, padded, width, size, false);
    float factors[BLOCK];
    for (long w = 0; w < width; w += kWidth) {
      Floats exponent;
      const Floats sum = softmax(scores + w, probabilities + w, task.keys, factor, dropout.threshold ? &mask : nullptr,
                                 i + w, &exponent);
      _mm512_storeu_ps(factors + w, _mm512_div_ps(_mm512_set1_ps(dropout.scale), sum));
      if (log_sums == nullptr) continue;
      float sums[kWidth], exponents[kWidth];
      _mm512_storeu_ps(sums, sum);
      _mm512_storeu_ps(exponents, exponent);
      for (long x = 0; x < kWidth && w + x < count; x++)
        log_sums[task.first_query + i + w + x] = exponents[x] + log2f(sums[x]);
    }
    multiply(result, BLOCK, (const bf16*)values_turned, padded, probabilities, BLOCK, size, width, padded, false);
    scatter_columns(task.query(out, i), out.stride, result, BLOCK, size, count, factors);
  }
}

// inputs: query, key, value. log_sums (heads, rows of queries) may be null where there will be no backward pass.
extern "C" void attention_forward(const Texts* texts, const Heads* heads, const Rows* inputs, const Rows* output,
                                  float* log_sums, int64_t rows, const Dropout* dropout) {
  Rows out = *output;
#pragma omp parallel
  {
    const Tiles tiles;
#pragma omp for schedule(dynamic, 1)
    for (long number = 0; number < texts->count * heads->count; number++) {
      const Task task(*texts, *heads, number);
      float* own = log_sums == nullptr ? nullptr : log_sums + task.head * rows;
      attend(task, *heads, inputs[0], inputs[1], inputs[2], out, own, *dropout, (uint32_t)number);
    }
  }
}

// What the backward pass of one head of one text works with: blocks of queries by blocks of keys.
struct Backward {
  enum { QUERIES = 64, KEYS = 128 };
  long size, padded;
  bf16 *keys, *values, *queries, *out_gradients, *dropped, *score_gradients;
  uint32_t *key_pairs, *keys_turned, *queries_turned, *out_turned, *query_pairs, *out_pairs, *score_pairs;
  float *key_gradients, *value_gradients, *query_gradients, *scores, *products;
  float log_sums[QUERIES], inner[QUERIES];  // of each query: minus the product of its output and its gradient

  Backward(long size_, long padded_) : size(size_), padded(padded_) {
    scratch.begin(padded * size * 16 + QUERIES * size * 16 + QUERIES * KEYS * 14);
    keys = scratch.take<bf16>(padded * size);
    values = scratch.take<bf16>(padded * size);
    key_pairs = scratch.take<uint32_t>(padded / 2 * size);
    keys_turned = scratch.take<uint32_t>(size * padded / 2);
    key_gradients = scratch.take<float>(padded * size);
    value_gradients = scratch.take<float>(padded * size);
    queries = scratch.take<bf16>(QUERIES * size);
    out_gradients = scratch.take<bf16>(QUERIES * size);
    queries_turned = scratch.take<uint32_t>(QUERIES * size / 2);
    out_turned = scratch.take<uint32_t>(QUERIES * size / 2);
    query_pairs = scratch.take<uint32_t>(QUERIES * size / 2);
    out_pairs = scratch.take<uint32_t>(QUERIES * size / 2);
    query_gradients = scratch.take<float>(QUERIES * size);
    scores = scratch.take<float>(KEYS * QUERIES);
    products = scratch.take<float>(KEYS * QUERIES);
    dropped = scratch.take<bf16>(KEYS * QUERIES);
    score_gradients = scratch.take<bf16>(KEYS * QUERIES);
    score_pairs = scratch.take<uint32_t>(KEYS / 2 * QUERIES);
  }

  void begin_keys(const Task& task, const Rows& k, const Rows& v) {
    gather_rows(keys, task.key(k), k.stride, size, task.keys, padded);
    gather_rows(values, task.key(v), v.stride, size, task.keys, padded);
    pair_rows(key_pairs, keys, size, padded);
    transpose_words(keys_turned, padded / 2, key_pairs, size, padded / 2, size);
  }

  void begin_queries(const Task& task, const Rows& q, const Rows& out, const Rows& gradient, const float* logs,
                     long first, long count, long width) {
    gather_rows(queries, task.query(q, first), q.stride, size, count, width);
    gather_rows(out_gradients, task.query(gradient, first), gradient.stride, size, count, width);
    turn_rows(queries_turned, QUERIES, queries, size, width);
    turn_rows(out_turned, QUERIES, out_gradients, size, width);
    pair_rows(query_pairs, queries, size, width);
    pair_rows(out_pairs, out_gradients, size, width);
    for (long x = 0; x < width; x++) {
      log_sums[x] = inner[x] = 0;
      if (x >= count) continue;
      const bf16* row = task.query(out, first + x);
      Floats sum = _mm512_setzero_ps();
      for (long e = 0; e < size; e += kWidth)
        sum = _mm512_fmadd_ps(load(out_gradients + x * size + e), load(row + e), sum);
      inner[x] = -_mm512_reduce_add_ps(sum);
      log_sums[x] = logs[task.first_query + first + x];
    }
  }

  // Turns a block of scores, and of products of values and gradients, into the probabilities after dropout and the
  // gradients of the scores.
  template <bool DROPS>
  void differentiate(const Mask& mask, Floats factor, float scale, long keys_left, long first_key, long keys_here,
                     long first_query, long width) {
    const Floats zero = _mm512_setzero_ps(), scales = _mm512_set1_ps(scale);
    for (long w = 0; w < width; w += 32) {
      const Words places[2] = {places_of(first_query + w), places_of(first_query + w + kWidth)};
      for (long j = 0; j < keys_here; j += 2) {
        Floats p[2][2], d[2][2];  // of two keys, for two vectors of queries
        for (int half = 0; half < 2; half++) {
          const long at = w + kWidth * half;
          const Floats log_sum = _mm512_loadu_ps(log_sums + at), minus = _mm512_loadu_ps(inner + at);
          for (int key = 0; key < 2; key++) {
            const float* row = scores + (j + key) * QUERIES + at;
            p[key][half] = power_of_two(_mm512_fmsub_ps(_mm512_loadu_ps(row), factor, log_sum));
            if (j + key >= keys_left) p[key][half] = zero;
            d[key][half] = _mm512_loadu_ps(products + (j + key) * QUERIES + at);
          }
          if (DROPS) {
            __mmask16 kept[2];
            mask.kept(_mm512_add_epi32(places[half], words((uint32_t)((first_key + j) / 2))), kept, kept + 1);
            for (int key = 0; key < 2; key++) {
              d[key][half] = _mm512_mul_ps(p[key][half], _mm512_mask3_fmadd_ps(d[key][half], scales, minus, kept[key]));
              p[key][half] = _mm512_maskz_mov_ps(kept[key], p[key][half]);
            }
          } else {
            for (int key = 0; key < 2; key++) d[key][half] = _mm512_mul_ps(p[key][half], _mm512_add_ps(d[key][half], minus));
          }
        }
        const Words rows[2] = {narrowed(d[0][0], d[0][1]), narrowed(d[1][0], d[1][1])};
        for (int key = 0; key < 2; key++) {
          store(dropped + (j + key) * QUERIES + w, p[key][0], p[key][1]);
          _mm512_storeu_si512(score_gradients + (j + key) * QUERIES + w, rows[key]);
        }
        _mm512_storeu_si512(score_pairs + j / 2 * QUERIES + w, pairs(rows[0], rows[1], false));
        _mm512_storeu_si512(score_pairs + j / 2 * QUERIES + w + kWidth, pairs(rows[0], rows[1], true));
      }
    }
  }
};

static void differentiate(const Task& task, const Heads& heads, const Rows& q, const Rows& k, const Rows& v,
                          const Rows& out, const Rows& gradient, const float* log_sums, Rows& gq, Rows& gk, Rows& gv,
                          const Dropout& dropout, uint32_t number) {
  const long size = heads.size;
  Backward work(size, task.padded);
  enum { QUERIES = Backward::QUERIES, KEYS = Backward::KEYS };
  work.begin_keys(task, k, v);
  const Mask mask(dropout, number);
  const Floats factor = _mm512_set1_ps(heads.scaling * kLog2E);
  float scalings[QUERIES];
  for (float& scaling : scalings) scaling = heads.scaling;
  for (long i = 0; i < task.queries; i += QUERIES) {
    const long count = smaller(task.queries - i, QUERIES), width = rounded_up(count, 32);
    work.begin_queries(task, q, out, gradient, log_sums, i, count, width);
    for (long j = 0; j < task.padded; j += KEYS) {
      const long here = smaller(task.padded - j, KEYS);
      multiply(work.scores, QUERIES, work.keys + j * size, size, work.queries_turned, QUERIES, here, width, size, false);
      multiply(work.products, QUERIES, work.values + j * size, size, work.out_turned, QUERIES, here, width, size, false);
      if (dropout.threshold)
        work.differentiate<true>(mask, factor, dropout.scale, task.keys - j, j, here, i, width);
      else
        work.differentiate<false>(mask, factor, 1.0f, task.keys - j, j, here, i, width);
      multiply(work.value_gradients + j * size, size, work.dropped, QUERIES, work.out_pairs, size, here, size, width, i > 0);
      multiply(work.key_gradients + j * size, size, work.score_gradients, QUERIES, work.query_pairs, size, here, size, width,
               i > 0);
      multiply(work.query_gradients, QUERIES, (const bf16*)work.keys_turned + j, task.padded, work.score_pairs, QUERIES, size,
               width, here, j > 0);
    }
    scatter_columns(task.query(gq, i), gq.stride, work.query_gradients, QUERIES, size, count, scalings);
  }
  const Floats scaling = _mm512_set1_ps(heads.scaling), scale = _mm512_set1_ps(dropout.scale);
  for (long j = 0; j < task.keys; j++)
    for (long e = 0; e < size; e += kWidth) {
      store(task.key(gk, j) + e, _mm512_mul_ps(scaling, _mm512_loadu_ps(work.key_gradients + j * size + e)));
      store(task.key(gv, j) + e, _mm512_mul_ps(scale, _mm512_loadu_ps(work.value_gradients + j * size + e)));
    }
}

// Writes the gradients of what attention_forward read, in the same layout.
extern "C" void attention_backward(const Texts* texts, const Heads* heads, const Rows* inputs, const Rows* outputs,
                                   const float* log_sums, int64_t rows, const Rows* gradients, const Dropout* dropout) {
  // inputs: query, key, value; outputs: the forward pass's, and its gradient; gradients: of the inputs.
  Rows gq = gradients[0], gk = gradients[1], gv = gradients[2];
#pragma omp parallel
  {
    const Tiles tiles;
#pragma omp for schedule(dynamic, 1)
    for (long number = 0; number < texts->count * heads->count; number++) {
      const Task task(*texts, *heads, number);
      differentiate(task, *heads, inputs[0], inputs[1], inputs[2], outputs[0], outputs[1], log_sums + task.head * rows, gq,
                    gk, gv, *dropout, (uint32_t)number);
    }
  }
}
