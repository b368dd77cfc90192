/* A driver's library that says what a file beside it says (LIBRARY.scenario), line by line, read anew at each call:
 *     gpus 2
 *     gpu0.uuid GPU-…
 *     gpu0.power 123456      a number in NVML's own unit
 *     gpu0.power hang        the call never returns
 *     gpu0.power error 15    the call fails with this code
 * What the file does not name is not supported. Compiled with -DOLD it lacks functions that old drivers lack. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define OK 0
#define INVALID 2
#define UNSUPPORTED 3
#define NOT_FOUND 6
#define TOO_SMALL 7
#define TIMEOUT 10
#define MOST 16

typedef struct { int gpu, slice; } Device; /* slice -1: the whole GPU */
static Device devices[MOST][MOST + 1];
static int told;

static int raw(const char *key, char *out, size_t size) {
    static char path[4096];
    if (!path[0]) {
        Dl_info here;
        dladdr((void *)raw, &here);
        snprintf(path, sizeof path, "%s.scenario", here.dli_fname);
    }
    FILE *file = fopen(path, "r");
    char line[512];
    int found = 0;
    size_t length = strlen(key);
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, key, length) == 0 && line[length] == ' ') {
            snprintf(out, size, "%s", line + length + 1);
            found = 1;
        }
    }
    if (file) fclose(file);
    return found;
}

static int text(const char *key, char *out, size_t size) {
    if (!raw(key, out, size)) return UNSUPPORTED;
    if (strcmp(out, "hang") == 0) for (;;) pause();
    int code;
    if (sscanf(out, "error %d", &code) == 1) return code;
    return OK;
}

static int number(const char *key, unsigned long long *out) {
    char value[256];
    int status = text(key, value, sizeof value);
    if (status == OK) *out = strtoull(value, NULL, 0);
    return status;
}

static void name(char *key, size_t size, const Device *device, const char *what) {
    if (device->slice < 0) snprintf(key, size, "gpu%d.%s", device->gpu, what);
    else snprintf(key, size, "gpu%d.mig%d.%s", device->gpu, device->slice, what);
}

static int of(const Device *device, const char *what, unsigned long long *out) {
    char key[128];
    name(key, sizeof key, device, what);
    return number(key, out);
}

static int said(const Device *device, const char *what, char *out, unsigned int size) {
    char key[128], value[256];
    name(key, sizeof key, device, what);
    int status = text(key, value, sizeof value);
    if (status == OK) snprintf(out, size, "%s", value);
    return status;
}

#define U32(function, what) \
    int function(Device *device, unsigned int *out) { \
        unsigned long long value; int status = of(device, what, &value); \
        if (status == OK) *out = (unsigned int)value; return status; }
#define TEXT(function, what) \
    int function(Device *device, char *out, unsigned int size) { return said(device, what, out, size); }

static Device *device_of(int gpu, int slice) {
    Device *device = &devices[gpu][slice + 1];
    device->gpu = gpu;
    device->slice = slice;
    return device;
}

int nvmlInit_v2(void) { unsigned long long code = 0; int status = number("init", &code); return status == UNSUPPORTED ? OK : status; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { (void)code; return "as the scenario says"; }
int nvmlSystemGetDriverVersion(char *out, unsigned int size) { return text("driver", out, size); }
int nvmlDeviceGetCount_v2(unsigned int *out) { unsigned long long value; int status = number("gpus", &value); if (status == OK) *out = value; return status; }

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, Device **out) {
    unsigned long long ignored;
    Device *device = device_of(index, -1);
    int status = of(device, "handle", &ignored);
    if (status != OK && status != UNSUPPORTED) return status;
    *out = device;
    return OK;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, Device **out) {
    char value[256];
    for (int gpu = 0; gpu < MOST; gpu++) {
        for (int slice = -1; slice < MOST; slice++) {
            char key[128];
            name(key, sizeof key, device_of(gpu, slice), "uuid");
            if (raw(key, value, sizeof value) && strcmp(value, uuid) == 0) {
                unsigned long long ignored;
                int status = of(device_of(gpu, -1), "handle", &ignored);
                if (status != OK && status != UNSUPPORTED) return status;
                *out = device_of(gpu, slice);
                return OK;
            }
        }
    }
    return NOT_FOUND;
}

TEXT(nvmlDeviceGetUUID, "uuid")
TEXT(nvmlDeviceGetName, "name")
TEXT(nvmlDeviceGetSerial, "serial")
TEXT(nvmlDeviceGetVbiosVersion, "vbios")
U32(nvmlDeviceGetMinorNumber, "minor")
U32(nvmlDeviceGetMaxPcieLinkGeneration, "pcie_max_generation")
U32(nvmlDeviceGetMaxPcieLinkWidth, "pcie_max_width")
U32(nvmlDeviceGetCurrPcieLinkGeneration, "pcie_generation")
U32(nvmlDeviceGetCurrPcieLinkWidth, "pcie_width")
U32(nvmlDeviceGetNumaNodeId, "numa")
U32(nvmlDeviceGetPowerUsage, "power")
U32(nvmlDeviceGetPcieReplayCounter, "replays")
U32(nvmlDeviceGetMaxMigDeviceCount, "mig_places")
U32(nvmlDeviceGetGpuInstanceId, "gpu_instance")
U32(nvmlDeviceGetComputeInstanceId, "compute_instance")

int nvmlDeviceGetTotalEnergyConsumption(Device *device, unsigned long long *out) { return of(device, "energy", out); }
int nvmlDeviceGetCurrentClocksThrottleReasons(Device *device, unsigned long long *out) { return of(device, "throttle", out); }

int nvmlDeviceGetTemperature(Device *device, int sensor, unsigned int *out) {
    unsigned long long value; int status = sensor == 0 ? of(device, "temperature", &value) : INVALID;
    if (status == OK) *out = value;
    return status;
}

int nvmlDeviceGetClockInfo(Device *device, int kind, unsigned int *out) {
    unsigned long long value; int status = of(device, kind == 1 ? "sm_clock" : "memory_clock", &value);
    if (status == OK) *out = value;
    return status;
}

int nvmlDeviceGetUtilizationRates(Device *device, struct { unsigned int gpu, memory; } *out) {
    unsigned long long gpu, memory; int status = of(device, "utilisation", &gpu);
    if (status != OK) return status;
    out->gpu = gpu;
    out->memory = of(device, "memory_activity", &memory) == OK ? memory : 0;
    return OK;
}

#ifndef OLD
int nvmlDeviceGetMemoryInfo_v2(Device *device, struct { unsigned int version; unsigned long long total, reserved, free, used; } *out) {
    unsigned long long total, used; int status = of(device, "memory_total", &total);
    if (status != OK) return status;
    if (of(device, "memory_used", &used) != OK) used = 0;
    out->total = total; out->used = used; out->free = total - used; out->reserved = 0;
    return OK;
}

int nvmlDeviceGetFieldValues(Device *device, int count, struct { unsigned int field, scope; long long at, latency; int type, status; union { double d; unsigned int u; unsigned long long l; } value; } *out) {
    for (int at = 0; at < count; at++) {
        char what[32]; unsigned long long value;
        int linked = out[at].field == 138 || out[at].field == 139; /* KiB over one link, which the scope names */
        if (linked) snprintf(what, sizeof what, "link%u.%s", out[at].scope, out[at].field == 138 ? "sent" : "received");
        else snprintf(what, sizeof what, "field%u", out[at].field);
        out[at].status = of(device, what, &value);
        out[at].type = linked ? 3 : 1; /* unsigned long long, unsigned int */
        if (out[at].status != OK) continue;
        if (linked) out[at].value.l = value; else out[at].value.u = value;
    }
    return OK;
}

int nvmlDeviceGetTotalEccErrors(Device *device, int kind, int counter, unsigned long long *out) {
    return counter == 0 ? of(device, kind == 0 ? "ecc_corrected" : "ecc_uncorrected", out) : INVALID;
}
#endif

int nvmlDeviceGetCudaComputeCapability(Device *device, int *major, int *minor) {
    char value[256]; int status = said(device, "capability", value, sizeof value);
    if (status == OK && sscanf(value, "%d.%d", major, minor) != 2) return INVALID;
    return status;
}

struct pci { char legacy[16]; unsigned int domain, bus, device, id, subsystem; char bus_id[32]; };
int nvmlDeviceGetPciInfo_v3(Device *device, struct pci *out) { memset(out, 0, sizeof *out); return said(device, "bus", out->bus_id, sizeof out->bus_id); }

int nvmlDeviceGetMigMode(Device *device, unsigned int *current, unsigned int *pending) {
    unsigned long long value; int status = of(device, "mig", &value);
    if (status == OK) *current = *pending = value;
    return status;
}

int nvmlDeviceGetMigDeviceHandleByIndex(Device *device, unsigned int place, Device **out) {
    char uuid[256];
    Device *slice = device_of(device->gpu, place);
    if (said(slice, "uuid", uuid, sizeof uuid) != OK) return NOT_FOUND;
    *out = slice;
    return OK;
}

/* gpu0.link0 gpu 00000000:1B:00.0 | gpu0.link0 switch 00000000:05:00.0 | gpu0.link0 off */
static int link_of(Device *device, unsigned int link, char *kind, char *bus) {
    char what[32], value[256];
    snprintf(what, sizeof what, "link%u", link);
    int status = said(device, what, value, sizeof value);
    if (status == OK) sscanf(value, "%15s %31s", kind, bus);
    return status;
}
int nvmlDeviceGetNvLinkState(Device *device, unsigned int link, unsigned int *out) {
    char kind[16] = "", bus[32] = ""; int status = link_of(device, link, kind, bus);
    if (status == OK) *out = strcmp(kind, "off") != 0;
    return status;
}
int nvmlDeviceGetNvLinkRemoteDeviceType(Device *device, unsigned int link, unsigned int *out) {
    char kind[16] = "", bus[32] = ""; int status = link_of(device, link, kind, bus);
    if (status == OK) *out = strcmp(kind, "switch") == 0 ? 2 : 0;
    return status;
}
int nvmlDeviceGetNvLinkRemotePciInfo_v2(Device *device, unsigned int link, struct pci *out) {
    char kind[16] = "", bus[32] = ""; int status = link_of(device, link, kind, bus);
    memset(out, 0, sizeof *out);
    if (status == OK) snprintf(out->bus_id, sizeof out->bus_id, "%s", bus);
    return status;
}

/* gpu0.processes PID:BYTES PID:BYTES … */
struct process { unsigned int pid; unsigned long long bytes; unsigned int gpu_instance, compute_instance; };
int nvmlDeviceGetComputeRunningProcesses_v3(Device *device, unsigned int *count, struct process *out) {
    char value[256]; int status = said(device, "processes", value, sizeof value);
    if (status != OK) return status;
    unsigned int found = 0, room = *count;
    for (char *rest = value, *word; (word = strtok_r(rest, " ", &rest));) {
        unsigned int pid; unsigned long long bytes;
        if (sscanf(word, "%u:%llu", &pid, &bytes) != 2) continue;
        if (out && found < room) out[found] = (struct process){ pid, bytes, ~0u, ~0u };
        found++;
    }
    *count = found;
    return found > room || (!out && found) ? TOO_SMALL : OK;
}

/* gpu0.profiler 1, gpu0.metric5 61.5 (as in nvml.h, for any two samples), gpu0.metric5 error 3 */
struct sample { int gpu, taken; };
static int samples;
int nvmlGpmQueryDeviceSupport(Device *device, struct { unsigned int version, there; } *out) {
    unsigned long long value; int status = of(device, "profiler", &value);
    if (status == OK) out->there = value;
    return status;
}
int nvmlGpmSampleAlloc(struct sample **out) { *out = calloc(1, sizeof **out); samples++; return OK; }
int nvmlGpmSampleFree(struct sample *sample) { free(sample); samples--; return OK; }
int nvmlGpmSampleGet(Device *device, struct sample *sample) {
    /* Whoever keeps more than one for a GPU and the one at hand leaks them. */
    if (samples > 2 * MOST) return 20;
    sample->gpu = device->gpu; sample->taken = 1;
    return OK;
}
struct metric { unsigned int id; int status; double value; const char *names[3]; };
int nvmlGpmMetricsGet(struct { unsigned int version, count; struct sample *first, *second; struct metric metrics[]; } *out) {
    if (!out->first->taken || !out->second->taken || out->first == out->second) return INVALID;
    for (unsigned int at = 0; at < out->count; at++) {
        char key[64], value[256];
        snprintf(key, sizeof key, "gpu%d.metric%u", out->second->gpu, out->metrics[at].id);
        out->metrics[at].status = text(key, value, sizeof value);
        if (out->metrics[at].status == OK) out->metrics[at].value = strtod(value, NULL);
    }
    return OK;
}

int nvmlEventSetCreate(void **out) { static int set; *out = &set; return OK; }
int nvmlEventSetFree(void *set) { (void)set; return OK; }
int nvmlDeviceRegisterEvents(Device *device, unsigned long long kinds, void *set) {
    unsigned long long deaf; (void)kinds; (void)set;
    return of(device, "deaf", &deaf) == OK ? UNSUPPORTED : OK;
}

/* xid0 GPU NUMBER, then xid1, xid2, … each told once */
int nvmlEventSetWait_v2(void *set, struct { Device *device; unsigned long long kind, data; unsigned int gpu_instance, compute_instance; } *out, unsigned int patience) {
    (void)set;
    for (unsigned int waited = 0; waited < patience; waited += 10) {
        char key[32], value[256]; int gpu; unsigned long long xid;
        snprintf(key, sizeof key, "xid%d", told);
        if (raw(key, value, sizeof value) && sscanf(value, "%d %llu", &gpu, &xid) == 2) {
            told++;
            out->device = device_of(gpu, -1); out->kind = 8; out->data = xid;
            return OK;
        }
        nanosleep(&(struct timespec){ 0, 10 * 1000 * 1000 }, NULL);
    }
    return TIMEOUT;
}
