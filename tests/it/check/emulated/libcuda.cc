// A libcuda whose only GPU is this CPU: the calls that the checks make, and their kernels, compiled from the very sources that
// become the PTX. 48 MiB of memory, four processors.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <ucontext.h>

#include "device.h"
#include "memory.cu"
#include "product.cu"
#include "unanimity.cu"

Dimension threadIdx, blockIdx, blockDim, gridDim;

namespace {
constexpr size_t MEMORY = 48 << 20, STACK = 64 << 10, LANES = 32;
constexpr unsigned PROCESSORS = 4;
enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_FOUND = 500 };

alignas(256) char memory[MEMORY];
std::map<size_t, size_t> taken; // offset to length
size_t used;

using Kernel = void (*)(u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64, u64);
struct Entry {
    Kernel kernel;
    int parameters;
};
template <class... P> Entry entry(void (*kernel)(P...)) { return {(Kernel)kernel, sizeof...(P)}; }
const std::map<std::string, Entry> kernels = {
    {"fill", entry(fill)},
    {"verify", entry(verify)},
    {"invert", entry(invert)},
    {"sow", entry(sow)},
    {"residue", entry(residue)},
    {"copy", entry(copy)},
    {"answer", entry(answer)},
    {"stray", entry(stray)},
    {"product_bf16", entry(product_bf16)},
    {"product_fp16", entry(product_fp16)},
    {"product_int8", entry(product_int8)},
    {"generate", entry(generate)},
    {"probe", entry(probe)},
    {"scalar", entry(scalar)},
    {"tensor", entry(tensor)},
    {"load", entry(load)},
};

ucontext_t scheduler, lanes[LANES];
char stacks[LANES][STACK];
bool over[LANES];
unsigned lane;
Kernel running;
u64 arguments[13];

void fibre() {
    u64 *a = arguments;
    running(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12]);
    over[lane] = true;
}

void run_warp(unsigned first) {
    for (lane = 0; lane < LANES; lane++) {
        over[lane] = false;
        getcontext(&lanes[lane]);
        lanes[lane].uc_stack.ss_sp = stacks[lane];
        lanes[lane].uc_stack.ss_size = STACK;
        lanes[lane].uc_link = &scheduler;
        makecontext(&lanes[lane], fibre, 0);
    }
    for (bool any = true; any;) {
        any = false;
        for (lane = 0; lane < LANES; lane++) {
            if (over[lane]) continue;
            any = true;
            threadIdx.x = first + lane;
            swapcontext(&scheduler, &lanes[lane]);
        }
    }
}

bool inside(u64 at, size_t bytes) { return at >= (u64)memory && at + bytes <= (u64)memory + MEMORY; }
} // namespace

unsigned host_processor() { return blockIdx.x % PROCESSORS; }
void __syncwarp() { swapcontext(&lanes[lane], &scheduler); }

#define CALL(name, ...) extern "C" int name(__VA_ARGS__)
CALL(cuInit, unsigned) { return SUCCESS; }
CALL(cuDeviceGetCount, int *count) { return *count = 1, SUCCESS; }
CALL(cuDeviceGet, int *device, int ordinal) { return *device = ordinal, ordinal ? INVALID_VALUE : SUCCESS; }
CALL(cuDeviceGetName, char *name, int length, int) { return snprintf(name, length, "Emulated"), SUCCESS; }
CALL(cuDeviceGetAttribute, int *value, int which, int) {
    *value = which == 16 ? PROCESSORS : which == 75 ? 8 : 0; // processors; compute capability 8.0
    return SUCCESS;
}
CALL(cuDevicePrimaryCtxRetain, void **context, int) { return *context = memory, SUCCESS; }
CALL(cuCtxSetCurrent, void *) { return SUCCESS; }
CALL(cuCtxSynchronize) { return SUCCESS; }
CALL(cuModuleLoadData, void **module, const char *text) {
    return *module = memory, strstr(text, ".version 8.0") ? SUCCESS : 218; // invalid PTX
}
CALL(cuModuleGetFunction, const void **function, void *, const char *name) {
    auto found = kernels.find(name);
    if (found == kernels.end()) return NOT_FOUND;
    return *function = &found->second, SUCCESS;
}
CALL(cuLaunchKernel, const Entry *entry, unsigned blocks, unsigned, unsigned, unsigned threads, unsigned, unsigned, unsigned,
     void *, void **parameters, void **) {
    running = entry->kernel;
    for (int i = 0; i < entry->parameters; i++) arguments[i] = *(u64 *)parameters[i];
    gridDim.x = blocks, blockDim.x = threads;
    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++)
        for (unsigned first = 0; first < threads; first += LANES) run_warp(first);
    return SUCCESS;
}
CALL(cuMemGetInfo_v2, size_t *free, size_t *total) { return *total = MEMORY, *free = MEMORY - used, SUCCESS; }
CALL(cuMemAlloc_v2, u64 *at, size_t bytes) {
    size_t length = (bytes + 255) / 256 * 256, from = 0;
    for (auto [offset, size] : taken) {
        if (offset - from >= length) break;
        from = offset + size;
    }
    auto next = taken.lower_bound(from);
    if ((next == taken.end() ? MEMORY : next->first) - from < length || !bytes) return OUT_OF_MEMORY;
    taken[from] = length, used += length;
    return *at = (u64)memory + from, SUCCESS;
}
CALL(cuMemFree_v2, u64 at) {
    auto found = taken.find(at - (u64)memory);
    if (found == taken.end()) return INVALID_VALUE;
    used -= found->second;
    return taken.erase(found), SUCCESS;
}
static int move(void *to, const void *from, size_t bytes, u64 device) {
    if (!inside(device, bytes)) return INVALID_VALUE;
    return memmove(to, from, bytes), SUCCESS;
}
CALL(cuMemcpyHtoD_v2, u64 to, const void *from, size_t bytes) { return move((void *)to, from, bytes, to); }
CALL(cuMemcpyDtoH_v2, void *to, u64 from, size_t bytes) { return move(to, (void *)from, bytes, from); }
CALL(cuMemcpyHtoDAsync_v2, u64 to, const void *from, size_t bytes, void *) { return move((void *)to, from, bytes, to); }
CALL(cuMemcpyDtoHAsync_v2, void *to, u64 from, size_t bytes, void *) { return move(to, (void *)from, bytes, from); }
CALL(cuMemcpyDtoDAsync_v2, u64 to, u64 from, size_t bytes, void *) {
    return inside(from, bytes) ? move((void *)to, (void *)from, bytes, to) : INVALID_VALUE;
}
CALL(cuMemcpyPeerAsync, u64, void *, u64, void *, size_t, void *) { return INVALID_VALUE; }
CALL(cuMemHostAlloc, void **at, size_t bytes, unsigned) { return *at = malloc(bytes), SUCCESS; }
CALL(cuDeviceCanAccessPeer, int *can, int, int) { return *can = 0, SUCCESS; }
CALL(cuCtxEnablePeerAccess, void *, unsigned) { return SUCCESS; }
CALL(cuEventCreate, void **event, unsigned) { return *event = memory, SUCCESS; }
CALL(cuEventRecord, void *, void *) { return SUCCESS; }
CALL(cuEventSynchronize, void *) { return SUCCESS; }
// A clock of its own: half a second between any two points.
CALL(cuEventElapsedTime, float *millis, void *, void *) { return *millis = 500, SUCCESS; }
CALL(cuGetErrorName, int, const char **text) { return *text = "CUDA_ERROR", SUCCESS; }
CALL(cuGetErrorString, int, const char **text) { return *text = "an error of the emulated driver", SUCCESS; }
