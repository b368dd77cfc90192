// Memory: patterns by place, moving inversions, the canary before a wipe and the look for residue after it, copies.
// Each thread moves 16 bytes at a time, four of them in flight, in strides of the whole grid: neighbouring threads touch
// neighbouring bytes, and the hash (two multiplications) hides behind the transfer. `first` is the number of the first
// 64-bit word of this piece in all that is tested, so that the same pattern runs over all pieces.
#include "proof.cuh"

#define UNROLL 4

struct Pattern {
    u64 key, keep, flip;
};

// `base` is place * STEP + key.
__device__ __forceinline__ u64 word_of(const Pattern &p, u64 base) { return (mix(base) & p.keep) ^ p.flip; }

__device__ __forceinline__ Pair pair_of(const Pattern &p, u64 pair, u64 first) {
    u64 base = (first + 2 * pair) * STEP + p.key;
    Pair both;
    both.a = word_of(p, base);
    both.b = word_of(p, base + STEP);
    return both;
}

__device__ __forceinline__ void compare(u64 *log, u64 word, u64 expected, u64 got) {
    if (expected != got) wrong(log, word * 8, expected, got, processor());
}

__device__ __forceinline__ void compare_pair(u64 *log, u64 word, const Pair &expected, const Pair &got) {
    if (expected.a != got.a || expected.b != got.b) {
        compare(log, word, expected.a, got.a);
        compare(log, word + 1, expected.b, got.b);
    }
}

// Writes the pattern over `pairs` of words.
extern "C" __global__ void __launch_bounds__(256) fill(u64 at, u64 pairs, u64 first, u64 key, u64 keep, u64 flip) {
    Pair *memory = (Pair *)at;
    const Pattern p = {key, keep, flip};
    const u64 stride = thread_count();
    u64 i = thread_number();
    for (; i + (UNROLL - 1) * stride < pairs; i += UNROLL * stride) {
#pragma unroll
        for (int k = 0; k < UNROLL; k++) memory[i + k * stride] = pair_of(p, i + k * stride, first);
    }
    for (; i < pairs; i += stride) memory[i] = pair_of(p, i, first);
}

// Reads it back.
extern "C" __global__ void __launch_bounds__(256)
    verify(u64 at, u64 pairs, u64 first, u64 key, u64 keep, u64 flip, u64 log) {
    const Pair *memory = (const Pair *)at;
    const Pattern p = {key, keep, flip};
    const u64 stride = thread_count();
    u64 i = thread_number();
    for (; i + (UNROLL - 1) * stride < pairs; i += UNROLL * stride) {
        Pair got[UNROLL];
#pragma unroll
        for (int k = 0; k < UNROLL; k++) got[k] = memory[i + k * stride];
#pragma unroll
        for (int k = 0; k < UNROLL; k++)
            compare_pair((u64 *)log, first + 2 * (i + k * stride), pair_of(p, i + k * stride, first), got[k]);
    }
    for (; i < pairs; i += stride) compare_pair((u64 *)log, first + 2 * i, pair_of(p, i, first), memory[i]);
}

// Reads the pattern, writes its inverse over it; upward through memory, or downward where `down` is 1.
extern "C" __global__ void __launch_bounds__(256)
    invert(u64 at, u64 pairs, u64 first, u64 key, u64 keep, u64 flip, u64 log, u64 down) {
    Pair *memory = (Pair *)at;
    const Pattern p = {key, keep, flip};
    const u64 stride = thread_count();
    for (u64 i = thread_number(); i < pairs; i += stride) {
        const u64 place = down ? pairs - 1 - i : i;
        const Pair expected = pair_of(p, place, first);
        const Pair got = memory[place];
        compare_pair((u64 *)log, first + 2 * place, expected, got);
        Pair other;
        other.a = ~expected.a;
        other.b = ~expected.b;
        memory[place] = other;
    }
}

// Sows the canary: two words of the mill's choice into every `every`-th pair.
extern "C" __global__ void __launch_bounds__(256) sow(u64 at, u64 pairs, u64 every, u64 a, u64 b) {
    Pair *memory = (Pair *)at;
    Pair canary;
    canary.a = a;
    canary.b = b;
    for (u64 i = thread_number() * every; i < pairs; i += thread_count() * every) memory[i] = canary;
}

// Looks for what a wipe left. counts[0]: pairs that are the canary; [1]: zero; [2]: the wipe's own words, wherever they lie;
// [3]: anything else. The canary's places go into the log. The mix can be undone: a word of the wipe tells its place, and the
// word beside it must be the next one's.
extern "C" __global__ void __launch_bounds__(256)
    residue(u64 at, u64 pairs, u64 first, u64 a, u64 b, u64 counts, u64 log) {
    const Pair *memory = (const Pair *)at;
    u64 canary = 0, zero = 0, own = 0, other = 0;
    const u64 stride = thread_count();
    for (u64 i = thread_number(); i < pairs; i += stride) {
        const Pair got = memory[i];
        if (got.a == a && got.b == b) {
            canary++;
            wrong((u64 *)log, (first + 2 * i) * 8, 0, got.a, NO_SM);
        } else if ((got.a | got.b) == 0) {
            zero++;
        } else {
            // Back through the mix: the same steps with the multiplier's inverse.
            u64 x = got.a;
            x ^= x >> 32;
            x *= 0xCFEE444D8B59A89BULL;
            x ^= x >> 32;
            x *= 0xCFEE444D8B59A89BULL;
            x ^= x >> 32;
            if (mix(x + STEP) == got.b)
                own++;
            else
                other++;
        }
    }
    u64 *sum = (u64 *)counts;
    if (canary) atomicAdd(&sum[0], canary);
    if (zero) atomicAdd(&sum[1], zero);
    if (own) atomicAdd(&sum[2], own);
    if (other) atomicAdd(&sum[3], other);
}

// Copies; what its speed is measured beside is the driver's own copy.
extern "C" __global__ void __launch_bounds__(256) copy(u64 to, u64 from, u64 pairs) {
    Pair *out = (Pair *)to;
    const Pair *in = (const Pair *)from;
    const u64 stride = thread_count();
    u64 i = thread_number();
    for (; i + (UNROLL - 1) * stride < pairs; i += UNROLL * stride) {
        Pair got[UNROLL];
#pragma unroll
        for (int k = 0; k < UNROLL; k++) got[k] = in[i + k * stride];
#pragma unroll
        for (int k = 0; k < UNROLL; k++) out[i + k * stride] = got[k];
    }
    for (; i < pairs; i += stride) out[i] = in[i];
}

// The smallest kernel that shows an answer: one thread writes one word.
extern "C" __global__ void answer(u64 at, u64 word) {
    if (thread_number() == 0) *(u64 *)at = mix(word);
}

// A write to an address that the caller says is bad: for showing that such a fault stays in its process.
extern "C" __global__ void stray(u64 at) {
    if (thread_number() == 0) *(volatile u64 *)at = 1;
}
