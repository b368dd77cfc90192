// The arithmetic of base/proof as a GPU computes it: hash of a place, sums over places, the log of what was wrong. Every
// parameter of every kernel is a 64-bit number, so that the host has one way to pass them. It refuses the standard library:
// the runtime compiler has none.
#pragma once
typedef unsigned long long u64;
typedef unsigned int u32;

static const u64 STEP = 0x9E3779B97F4A7C15ULL;
static const u64 MULTIPLIER = 0xD6E8FEB86659FD93ULL;
static const u64 KEPT = 64, HEAD = 8, EACH = 4;
static const u64 NO_SM = ~0ULL;

// Two 64-bit words, moved as one.
struct __align__(16) Pair {
    u64 a, b;
};

__device__ __forceinline__ u64 mix(u64 x) {
    x ^= x >> 32;
    x *= MULTIPLIER;
    x ^= x >> 32;
    x *= MULTIPLIER;
    return x ^ (x >> 32);
}

// A sum of these over many places changes with every single value.
__device__ __forceinline__ u64 at_place(u64 place, u64 value) { return mix(place * STEP + value); }

__device__ __forceinline__ u64 thread_number() { return (u64)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ u64 thread_count() { return (u64)gridDim.x * blockDim.x; }

// The processor that this thread runs on.
__device__ __forceinline__ u32 processor() {
#ifdef ON_HOST
    return host_processor();
#else
    u32 sm;
    asm volatile("mov.u32 %0, %%smid;" : "=r"(sm));
    return sm;
#endif
}

// One wrong word: counted always, written down while there is room. How many words differ stands first, then how many bits.
__device__ __noinline__ void wrong(u64 *log, u64 address, u64 expected, u64 got, u64 sm) {
    u64 at = atomicAdd(&log[0], 1ULL);
    atomicAdd(&log[1], (u64)__popcll(expected ^ got));
    if (at < KEPT) {
        u64 *place = log + HEAD + at * EACH;
        place[0] = address;
        place[1] = expected;
        place[2] = got;
        place[3] = sm;
    }
}
