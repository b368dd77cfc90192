// CUDA C on a CPU, as far as the checks' kernels need it: the lanes of a warp are fibres that take turns at __syncwarp, the
// tensor core's tile is computed by lane 0. Blocks and warps run one after another. It proves the kernels' logic, and nothing
// about a GPU: neither its arithmetic, nor its memory model, nor its speed.
#pragma once
#define ON_HOST
#include <cmath>
#include <cstdint>
#include <cstring>

#define __device__
#define __global__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(threads)
#define __shared__ static
#define __align__(bytes) __attribute__((aligned(bytes)))

struct Dimension {
    unsigned x;
};
extern Dimension threadIdx, blockIdx, blockDim, gridDim;
unsigned host_processor();
void __syncwarp();

template <class T> static inline T atomicAdd(T *at, T value) {
    T before = *at;
    *at = before + value;
    return before;
}
static inline int __popcll(unsigned long long bits) { return __builtin_popcountll(bits); }
template <class To, class From> static inline To as(From from) {
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
static inline unsigned __float_as_uint(float value) { return as<unsigned>(value); }
static inline float __uint_as_float(unsigned bits) { return as<float>(bits); }
static inline long long __double_as_longlong(double value) { return as<long long>(value); }
static inline double __longlong_as_double(long long bits) { return as<double>(bits); }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }

struct __nv_bfloat16 {
    uint16_t bits;
};
struct __half {
    uint16_t bits;
};
static inline float number(__nv_bfloat16 value) { return as<float>((uint32_t)value.bits << 16); }
static inline float number(__half value) {
    int sign = value.bits >> 15, exponent = value.bits >> 10 & 31, mantissa = value.bits & 1023;
    float size = exponent ? ldexpf(1024 + mantissa, exponent - 25) : ldexpf(mantissa, -24);
    return sign ? -size : size;
}
static inline int number(signed char value) { return value; }

namespace nvcuda::wmma {
struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major };
template <class T> struct Number {
    using Is = float;
};
template <> struct Number<signed char> {
    using Is = int;
};
template <> struct Number<int> {
    using Is = int;
};
// Left tiles by rows, right tiles by columns, sums by rows: always 16 runs of 16.
template <class Use, int M, int N, int K, class T, class Layout = void> struct fragment {
    typename Number<T>::Is values[256];
};
static inline bool first_lane() { return threadIdx.x % 32 == 0; }
template <class F, class S> static inline void fill_fragment(F &to, S value) {
    for (auto &one : to.values) one = value;
}
template <class Use, class T, class Layout>
static inline void load_matrix_sync(fragment<Use, 16, 16, 16, T, Layout> &to, const T *from, unsigned run) {
    if (!first_lane()) return;
    for (int i = 0; i < 256; i++) to.values[i] = number(from[i / 16 * run + i % 16]);
}
template <class S, class A, class B> static inline void mma_sync(S &to, const A &a, const B &b, const S &with) {
    if (!first_lane()) return;
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++) {
            auto sum = with.values[i * 16 + j];
            for (int k = 0; k < 16; k++) sum += a.values[i * 16 + k] * b.values[j * 16 + k];
            to.values[i * 16 + j] = sum;
        }
}
template <class T, class F> static inline void store_matrix_sync(T *to, const F &from, unsigned run, layout_t) {
    if (!first_lane()) return;
    for (int i = 0; i < 256; i++) to[i / 16 * run + i % 16] = from.values[i];
}
} // namespace nvcuda::wmma
