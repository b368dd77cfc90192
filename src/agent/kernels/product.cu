// Exact products on every processor: each block multiplies the same matrices of small whole numbers through the tensor cores
// and compares every value with what the CPU computed, with no tolerance at all. Each block also answers a fingerprint of
// what it got, so that a processor that compares wrongly does not pass either. Factors lie in tiles of 16 by 16, the left by
// rows, the right by columns. Whether a value that is no whole number (or NaN) equals the expected one is asked before
// anything is rounded.
#include "proof.cuh"
#include <mma.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

using namespace nvcuda;

#define WARPS 8

__device__ __forceinline__ u32 raw(float value) { return __float_as_uint(value); }
__device__ __forceinline__ u32 raw(int value) { return (u32)value; }

// `plant_*`: on that processor, at that value, these bits are turned over: for showing that it is found.
template <class T, class S>
__device__ __forceinline__ void product(S (*tiles)[256], const T *left, const T *right, const int *expected, u64 rows,
                                        u64 columns, u64 depth, u64 rounds, u64 *log, u64 *prints, u64 *who,
                                        u64 plant_sm, u64 plant_at, u64 plant_bits) {
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u64 across = columns / 16, deep = depth / 16, count = (rows / 16) * across;
    const u32 sm = processor();
    S *tile = tiles[warp];
    u64 sum = 0;
    for (u64 round = 0; round < rounds; round++) {
        for (u64 t = warp; t < count; t += WARPS) {
            const u64 down = t / across, over = t % across;
            wmma::fragment<wmma::accumulator, 16, 16, 16, S> total;
            wmma::fill_fragment(total, (S)0);
            for (u64 k = 0; k < deep; k++) {
                wmma::fragment<wmma::matrix_a, 16, 16, 16, T, wmma::row_major> a;
                wmma::fragment<wmma::matrix_b, 16, 16, 16, T, wmma::col_major> b;
                wmma::load_matrix_sync(a, left + (down * deep + k) * 256, 16);
                wmma::load_matrix_sync(b, right + (over * deep + k) * 256, 16);
                wmma::mma_sync(total, a, b, total);
            }
            wmma::store_matrix_sync(tile, total, 16, wmma::mem_row_major);
            __syncwarp();
            for (u32 e = lane; e < 256; e += 32) {
                const u64 place = (down * 16 + e / 16) * columns + over * 16 + e % 16;
                S got = tile[e];
                if (place == plant_at && sm == plant_sm) got = (S)((int)got ^ (int)plant_bits);
                const S wanted = (S)expected[place];
                if (!(got == wanted)) wrong(log, place, raw(wanted), raw(got), sm);
                sum += at_place(place, (u32)(int)got);
            }
            __syncwarp();
        }
    }
    atomicAdd(&prints[blockIdx.x], sum);
    if (threadIdx.x == 0) who[blockIdx.x] = sm;
}

#define PRODUCT(name, T, S)                                                                                           \
    extern "C" __global__ void __launch_bounds__(256)                                                                \
        name(u64 left, u64 right, u64 expected, u64 rows, u64 columns, u64 depth, u64 rounds, u64 log, u64 prints,   \
             u64 who, u64 plant_sm, u64 plant_at, u64 plant_bits) {                                                  \
        __shared__ __align__(32) S tiles[WARPS][256];                                                                \
        product<T, S>(tiles, (const T *)left, (const T *)right, (const int *)expected, rows, columns, depth, rounds, \
                      (u64 *)log, (u64 *)prints, (u64 *)who, plant_sm, plant_at, plant_bits);                        \
    }

PRODUCT(product_bf16, __nv_bfloat16, float)
PRODUCT(product_fp16, __half, float)
PRODUCT(product_int8, signed char, int)

// Inputs of a probe, made on the GPU: small whole numbers by their place, in tiles.
extern "C" __global__ void __launch_bounds__(256) generate(u64 at, u64 sides, u64 depth, u64 key) {
    signed char *out = (signed char *)at;
    for (u64 i = thread_number(); i < sides * depth; i += thread_count()) {
        const u64 tile = i / 256, e = i % 256, deep = depth / 16;
        const u64 side = tile / deep * 16 + e / 16, k = tile % deep * 16 + e % 16;
        out[i] = (signed char)((int)(((at_place(side * depth + k, key) >> 32) * 17) >> 32) - 8);
    }
}

// The probe: a product of `size` by `size` over all processors; each row's checksum carries the salt.
extern "C" __global__ void __launch_bounds__(256)
    probe(u64 left, u64 right, u64 size, u64 salt, u64 sums, u64 who) {
    __shared__ __align__(32) int tiles[WARPS][256];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u64 side = size / 16;
    int *tile = tiles[warp];
    for (u64 t = (u64)blockIdx.x * WARPS + warp; t < side * side; t += (u64)gridDim.x * WARPS) {
        const u64 down = t / side, over = t % side;
        wmma::fragment<wmma::accumulator, 16, 16, 16, int> total;
        wmma::fill_fragment(total, 0);
        for (u64 k = 0; k < side; k++) {
            wmma::fragment<wmma::matrix_a, 16, 16, 16, signed char, wmma::row_major> a;
            wmma::fragment<wmma::matrix_b, 16, 16, 16, signed char, wmma::col_major> b;
            wmma::load_matrix_sync(a, (const signed char *)left + (down * side + k) * 256, 16);
            wmma::load_matrix_sync(b, (const signed char *)right + (over * side + k) * 256, 16);
            wmma::mma_sync(total, a, b, total);
        }
        wmma::store_matrix_sync(tile, total, 16, wmma::mem_row_major);
        __syncwarp();
        if (lane < 16) {
            const u64 row = down * 16 + lane;
            u64 sum = 0;
            for (u32 c = 0; c < 16; c++) sum += at_place(row * size + over * 16 + c, salt + (u32)tile[lane * 16 + c]);
            atomicAdd(&((u64 *)sums)[row], sum);
        }
        __syncwarp();
    }
    if (threadIdx.x == 0) ((u64 *)who)[blockIdx.x] = processor();
}
