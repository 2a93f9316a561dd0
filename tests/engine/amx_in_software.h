// The instructions of AMX that the kernels use, in plain C++: so that a processor without AMX tests how tiles are laid
// out, though not the instructions themselves. Given to the compiler before the source.
#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct Tile {
  unsigned char bytes[16][64];
};
static thread_local Tile tiles_of_thread[8];
static thread_local bool configured = false;

static inline Tile& tile(int number) {
  if (!configured) abort();  // the processor would raise an exception
  return tiles_of_thread[number];
}

static inline void load_tile(int number, const void* base, long stride) {
  for (int r = 0; r < 16; r++) memcpy(tile(number).bytes[r], (const char*)base + r * stride, 64);
}

static inline void store_tile(int number, void* base, long stride) {
  for (int r = 0; r < 16; r++) memcpy((char*)base + r * stride, tile(number).bytes[r], 64);
}

static inline float number_at(const unsigned char* place) {
  uint16_t half;
  memcpy(&half, place, sizeof half);
  const uint32_t bits = (uint32_t)half << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// sum (16 x 16 of fp32) += a (16 rows of 32 of bf16) by b (16 rows of pairs of bf16).
static inline void multiply_tiles(int sum, int a, int b) {
  for (int m = 0; m < 16; m++)
    for (int n = 0; n < 16; n++) {
      float value;
      memcpy(&value, tile(sum).bytes[m] + 4 * n, sizeof value);
      for (int k = 0; k < 32; k++)
        value += number_at(tile(a).bytes[m] + 2 * k) * number_at(tile(b).bytes[k / 2] + 4 * n + 2 * (k % 2));
      memcpy(tile(sum).bytes[m] + 4 * n, &value, sizeof value);
    }
}

// A configuration of palette 1 with all eight tiles of 16 rows of 64 bytes, as the processor reads it.
static inline void configure_tiles(const void* shape) {
  const unsigned char* bytes = (const unsigned char*)shape;
  if (bytes[0] != 1) abort();
  for (int i = 0; i < 8; i++)
    if (bytes[16 + 2 * i] != 64 || bytes[17 + 2 * i] != 0 || bytes[48 + i] != 16) abort();
  configured = true;
}

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#define _tile_loadconfig(shape) configure_tiles(shape)
#define _tile_release() (void)(configured = false)
#define _tile_loadd(number, base, stride) load_tile(number, base, stride)
#define _tile_stored(number, base, stride) store_tile(number, base, stride)
#define _tile_zero(number) memset(tile(number).bytes, 0, 1024)
#define _tile_dpbf16ps(sum, a, b) multiply_tiles(sum, a, b)
// Linux is not asked for what is not there.
#define syscall(...) 0L
#define __AMX_TILE__ 1
#define __AMX_BF16__ 1
