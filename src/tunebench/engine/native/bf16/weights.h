// Gradients of weights: gradients (rows, outputs) transposed, times inputs (rows, inputs), in fp32. Outputs and inputs
// are multiples of 32.
#pragma once

#include <omp.h>

#include "products.h"

// Of 32 columns of gradients, from some column on: (32, padded), with zeros behind the last row. padded is a multiple
// of 32.
static inline void turn_gradients(bf16* to, long ld_to, const bf16* from, long stride, long rows, long padded) {
  for (long k = 0; k < padded; k += 32)
    for (int half = 0; half < 2; half++) {
      Words block[16];
      for (int z = 0; z < 16; z++) {
        const bf16* row = from + (k + 2 * z) * stride + kWidth * half;
        const Words even = k + 2 * z < rows ? widened(row) : words(0);
        const Words odd = k + 2 * z + 1 < rows ? widened(row + stride) : words(0);
        block[z] = _mm512_or_si512(even, _mm512_slli_epi32(odd, 16));
      }
      transpose(block);
      for (int z = 0; z < 16; z++) _mm512_storeu_si512(to + (kWidth * half + z) * ld_to + k, block[z]);
    }
}

// Pairs of rows of the inputs' columns, in panels of 32 columns: (columns / 32, summed / 2, 32).
static inline void pair_inputs(uint32_t* to, long summed, const bf16* from, long stride, long rows, long padded,
                               long columns) {
  for (long k = 0; k < padded / 2; k++)
    for (long c = 0; c < columns; c += kWidth) {
      const bf16* row = from + 2 * k * stride + c;
      const Words even = 2 * k < rows ? widened(row) : words(0);
      const Words odd = 2 * k + 1 < rows ? widened(row + stride) : words(0);
      uint32_t* place = to + (c / 32 * (summed / 2) + k) * 32 + c % 32;
      _mm512_storeu_si512(place, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
    }
}

// Both operands have to be laid out anew, as the sum is over rows: so many at a time that they stay in the cache.
// Threads share the longer side of the result, which leaves the order of every element's sum alone.
extern "C" void weight_gradient(const Rows* gradients, const Rows* inputs, float* result, int64_t rows, int64_t out_size,
                                int64_t in_size) {
  enum { SUMMED = 256, BLOCK = 32 };
  const bool by_outputs = out_size > in_size;
  const long blocks = (by_outputs ? out_size : in_size) / BLOCK;
#pragma omp parallel
  {
    const Tiles tiles;
    const long threads = omp_get_num_threads(), own = omp_get_thread_num();
    const long from = blocks * own / threads * BLOCK, to = blocks * (own + 1) / threads * BLOCK;
    const long first_out = by_outputs ? from : 0, last_out = by_outputs ? to : out_size;
    const long first_in = by_outputs ? 0 : from, columns = (by_outputs ? in_size : to) - first_in;
    scratch.begin(BLOCK * SUMMED * sizeof(bf16) + SUMMED / 2 * columns * sizeof(uint32_t));
    bf16* turned = scratch.take<bf16>(BLOCK * SUMMED);
    uint32_t* paired = scratch.take<uint32_t>(SUMMED / 2 * columns);
    for (long first = 0; first < rows && columns > 0; first += SUMMED) {
      const long here = smaller(rows - first, SUMMED), padded = rounded_up(here, 32);
      pair_inputs(paired, SUMMED, inputs->data + first * inputs->stride + first_in, inputs->stride, here, padded, columns);
      for (long o = first_out; o < last_out; o += BLOCK) {
        turn_gradients(turned, SUMMED, gradients->data + first * gradients->stride + o, gradients->stride, here, padded);
        for (long c = 0; c < columns; c += BLOCK)
          multiply(result + o * in_size + first_in + c, in_size, turned, SUMMED, paired + c * (SUMMED / 2), 32, BLOCK, BLOCK,
                   padded, first > 0);
      }
    }
  }
}
