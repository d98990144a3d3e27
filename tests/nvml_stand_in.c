/* A libnvidia-ml.so.1 and a libcuda.so.1 without a GPU: they say what a file says, anew at each call.
 *
 * The file is named in SERVEBENCH_STAND_IN_GPUS; tests/nvml_stand_in.py writes it. A line is a key
 * and a value; a value that begins with '!' is the error code that asking for it returns:
 *
 *     init 0
 *     count 2
 *     0.uuid 00000000-0000-0000-0000-000000000000
 *     0.utilization 37
 *     0.memory !3
 *     0.energy ~1000:5:200 3000:405:50     5 at the instant 1000 ns of CLOCK_MONOTONIC, from there on
 *                         200 more each second; from 3000 ns on another such line
 *     0.processes 71:1024 72:-             process and its bytes; - is not known
 *     1.part_of 0         the second device is a part of the first (MIG), and not counted
 *     cuda 1 0            the NVML index of CUDA's first GPU, of its second
 *
 * Compiled once for each of the two names; each caller finds the functions it looks for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };
enum { CUDA_INVALID_DEVICE = 101 };
enum { TEXT = 512 };

typedef struct { unsigned int gpu, memory; } Utilization;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned int pid; unsigned long long bytes; unsigned int part, of_part; } Process;
/* Devices are their index and one: a handle is never null. */
typedef void *Device;

static int users;

/* Finds the line of a key; returns the code that its value asks for, INVALID_ARGUMENT without one. */
static int say(const char *key, char value[TEXT]) {
    const char *path = getenv("SERVEBENCH_STAND_IN_GPUS");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[2 * TEXT];
    int code = INVALID_ARGUMENT;
    size_t length = strlen(key);
    if (!file)
        return code;
    while (fgets(line, sizeof line, file))
        if (!strncmp(line, key, length) && line[length] == ' ') {
            line[strcspn(line, "\n")] = 0;
            snprintf(value, TEXT, "%s", line + length + 1);
            code = value[0] == '!' ? atoi(value + 1) : OK;
            break;
        }
    fclose(file);
    return code;
}

/* The number that a value is, or what a course of numbers has come to now. */
static unsigned long long number_now(const char *value) {
    struct timespec now;
    long long now_ns, from_ns;
    double from, per_s, found = 0;
    int read;
    if (value[0] != '~')
        return strtoull(value, NULL, 10);
    clock_gettime(CLOCK_MONOTONIC, &now);
    now_ns = now.tv_sec * 1000000000LL + now.tv_nsec;
    for (value++; sscanf(value, "%lld:%lf:%lf%n", &from_ns, &from, &per_s, &read) == 3; value += read)
        if (from_ns <= now_ns)
            found = from + per_s * (double)(now_ns - from_ns) / 1e9;
    return (unsigned long long)found;
}

static int say_number(const char *key, unsigned long long *number) {
    char value[TEXT];
    int code = say(key, value);
    if (code == OK)
        *number = number_now(value);
    return code;
}

static int say_of(Device device, const char *what, char value[TEXT]) {
    char key[TEXT];
    if (users == 0)
        return UNINITIALIZED;
    snprintf(key, sizeof key, "%d.%s", (int)((size_t)device - 1), what);
    return say(key, value);
}

static int number_of(Device device, const char *what, unsigned long long *number) {
    char value[TEXT];
    int code = say_of(device, what, value);
    if (code == OK)
        *number = number_now(value);
    return code;
}

static int small_number_of(Device device, const char *what, unsigned int *number) {
    unsigned long long found = 0;
    int code = number_of(device, what, &found);
    *number = (unsigned int)found;
    return code;
}

int nvmlInitWithFlags(unsigned int flags) {
    unsigned long long ignored;
    int code = say_number("init", &ignored);
    (void)flags;
    users += code == OK;
    return code;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void) {
    if (users == 0)
        return UNINITIALIZED;
    users--;
    return OK;
}

const char *nvmlErrorString(int code) {
    switch (code) {
    case 0: return "Success";
    case 1: return "Uninitialized";
    case 2: return "Invalid Argument";
    case 3: return "Not Supported";
    case 4: return "Insufficient Permissions";
    case 6: return "Not Found";
    case 7: return "Insufficient Size";
    case 13: return "Function Not Found";
    case 9: return "Driver Not Loaded";
    case 15: return "GPU is lost";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    char value[TEXT];
    int code = say("driver", value);
    if (code == OK)
        snprintf(version, length, "%s", value);
    return code;
}

static int cuda_version(int *version) {
    unsigned long long found = 0;
    int code = say_number("cuda_version", &found);
    *version = (int)found;
    return code;
}

int nvmlSystemGetCudaDriverVersion(int *version) { return cuda_version(version); }

int nvmlSystemGetCudaDriverVersion_v2(int *version) { return cuda_version(version); }

int nvmlDeviceGetCount_v2(unsigned int *count) {
    unsigned long long number = 0;
    int code = users ? say_number("count", &number) : UNINITIALIZED;
    *count = (unsigned int)number;
    return code;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, Device *device) {
    unsigned int count;
    int code = nvmlDeviceGetCount_v2(&count);
    if (code == OK && index >= count)
        code = INVALID_ARGUMENT;
    *device = (Device)(size_t)(index + 1);
    return code;
}

int nvmlDeviceGetUUID(Device device, char *uuid, unsigned int length) {
    char value[TEXT], kind[TEXT];
    int code = say_of(device, "uuid", value);
    if (code == OK && say_of(device, "kind", kind) == OK)
        snprintf(uuid, length, "%.8s-%.64s", kind, value);
    return code;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, Device *device) {
    char own[TEXT];
    size_t index;
    int code;
    for (index = 0;; index++) {
        *device = (Device)(index + 1);
        code = nvmlDeviceGetUUID(*device, own, TEXT);
        if (code == UNINITIALIZED)
            return code;
        if (code != OK)
            return NOT_FOUND;
        if (!strcmp(own, uuid))
            return OK;
    }
}

int nvmlDeviceGetIndex(Device device, unsigned int *index) {
    *index = (unsigned int)((size_t)device - 1);
    return users ? OK : UNINITIALIZED;
}

int nvmlDeviceGetMigMode(Device device, unsigned int *current, unsigned int *pending) {
    int code = small_number_of(device, "mig", current);
    *pending = *current;
    return code;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device part, Device *device) {
    unsigned int index = 0;
    int code = small_number_of(part, "part_of", &index);
    *device = (Device)((size_t)index + 1);
    return code;
}

int nvmlDeviceGetName(Device device, char *name, unsigned int length) {
    char value[TEXT];
    int code = say_of(device, "name", value);
    if (code == OK)
        snprintf(name, length, "%s", value);
    return code;
}

int nvmlDeviceGetUtilizationRates(Device device, Utilization *use) {
    unsigned long long percent = 0;
    int code = number_of(device, "utilization", &percent);
    use->gpu = (unsigned int)percent;
    use->memory = 0;
    return code;
}

int nvmlDeviceGetMemoryInfo(Device device, Memory *memory) {
    unsigned long long used = 0, total = 0;
    int code = number_of(device, "memory", &used);
    if (code == OK)
        code = number_of(device, "total", &total);
    memory->used = used;
    memory->total = total;
    memory->free = total - used;
    return code;
}

int nvmlDeviceGetTotalEnergyConsumption(Device device, unsigned long long *mj) {
    return number_of(device, "energy", mj);
}

int nvmlDeviceGetPowerUsage(Device device, unsigned int *mw) { return small_number_of(device, "power", mw); }

int nvmlDeviceGetEnforcedPowerLimit(Device device, unsigned int *mw) {
    return small_number_of(device, "power_limit", mw);
}

int nvmlDeviceGetPowerManagementDefaultLimit(Device device, unsigned int *mw) {
    return small_number_of(device, "power_default", mw);
}

int nvmlDeviceGetMaxClockInfo(Device device, unsigned int kind, unsigned int *mhz) {
    return small_number_of(device, kind == 1 ? "sm_clock_max" : "memory_clock_max", mhz);
}

int nvmlDeviceGetPersistenceMode(Device device, unsigned int *mode) {
    return small_number_of(device, "persistence", mode);
}

int nvmlDeviceGetComputeMode(Device device, unsigned int *mode) {
    return small_number_of(device, "compute_mode", mode);
}

int nvmlDeviceGetCudaComputeCapability(Device device, int *major, int *minor) {
    unsigned int number = 0;
    int code = small_number_of(device, "capability", &number);
    *major = (int)number / 10;
    *minor = (int)number % 10;
    return code;
}

int nvmlDeviceGetClockInfo(Device device, unsigned int kind, unsigned int *mhz) {
    return small_number_of(device, kind == 1 ? "sm_clock" : "memory_clock", mhz);
}

int nvmlDeviceGetTemperature(Device device, unsigned int sensor, unsigned int *celsius) {
    (void)sensor;
    return small_number_of(device, "temperature", celsius);
}

int nvmlDeviceGetCurrentClocksEventReasons(Device device, unsigned long long *bits) {
    return number_of(device, "reasons", bits);
}

int nvmlDeviceGetCurrentClocksThrottleReasons(Device device, unsigned long long *bits) {
    return number_of(device, "old_reasons", bits);
}

static int processes_of(Device device, const char *what, unsigned int *count, Process *processes) {
    char value[TEXT], *here = value;
    unsigned int room = processes ? *count : 0, pid, found = 0;
    char bytes[TEXT];
    int read, code = say_of(device, what, value);
    if (code != OK)
        return code;
    for (; sscanf(here, " %u:%511s%n", &pid, bytes, &read) == 2; here += read, found++)
        if (found < room) {
            Process one = {pid, bytes[0] == '-' ? ~0ULL : strtoull(bytes, NULL, 10), ~0U, ~0U};
            processes[found] = one;
        }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : OK;
}

int nvmlDeviceGetComputeRunningProcesses_v3(Device device, unsigned int *count, Process *processes) {
    return processes_of(device, "processes", count, processes);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(Device device, unsigned int *count, Process *processes) {
    return processes_of(device, "graphics", count, processes);
}

/* CUDA, as far as it says which GPU is which. */

int cuInit(unsigned int flags) {
    unsigned long long ignored;
    (void)flags;
    return say_number("cuda_init", &ignored);
}

/* The devices of this process: all in CUDA's order, or those that CUDA_VISIBLE_DEVICES counts among them. */
static int nvml_index(int cuda_index, int *index) {
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    char order[TEXT], *end;
    int wanted = cuda_index, position;
    if (say("cuda", order) != OK || cuda_index < 0)
        return CUDA_INVALID_DEVICE;
    if (visible) {
        for (position = 0; position < cuda_index && visible; position++)
            visible = (visible = strchr(visible, ',')) ? visible + 1 : NULL;
        if (!visible || *visible < '0' || *visible > '9')
            return CUDA_INVALID_DEVICE;
        wanted = atoi(visible);
    }
    char *here = order;
    for (position = 0; ; position++) {
        long found = strtol(here, &end, 10);
        if (end == here)
            return CUDA_INVALID_DEVICE;
        if (position == wanted) {
            *index = (int)found;
            return OK;
        }
        here = end;
    }
}

int cuDeviceGet(int *device, int ordinal) { return nvml_index(ordinal, device); }

int cuDeviceGetUuid_v2(unsigned char *bytes, int device) {
    char key[TEXT], value[TEXT], *from = value;
    int code, i;
    snprintf(key, sizeof key, "%d.uuid", device);
    code = say(key, value);
    for (i = 0; code == OK && i < 16; i++) {
        unsigned int byte;
        if (*from == '-')
            from++;
        if (sscanf(from, "%2x", &byte) != 1)
            return CUDA_INVALID_DEVICE;
        bytes[i] = (unsigned char)byte;
        from += 2;
    }
    return code;
}
