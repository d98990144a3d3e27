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
 *     cuda 1 0            the NVML index of CUDA's first GPU, of its second
 *
 * Compiled once for each of the two names; each caller finds the functions it looks for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_FOUND = 6, CUDA_INVALID_DEVICE = 101 };
enum { TEXT = 256 };

typedef struct { unsigned int gpu, memory; } Utilization;
typedef struct { unsigned long long total, free, used; } Memory;
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

static int say_number(const char *key, unsigned long long *number) {
    char value[TEXT];
    int code = say(key, value);
    if (code == OK)
        *number = strtoull(value, NULL, 10);
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
        *number = strtoull(value, NULL, 10);
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
    unsigned int count, index;
    char own[TEXT];
    int code = nvmlDeviceGetCount_v2(&count);
    if (code != OK)
        return code;
    for (index = 0; index < count; index++)
        if (nvmlDeviceGetHandleByIndex_v2(index, device) == OK && nvmlDeviceGetUUID(*device, own, TEXT) == OK
            && !strcmp(own, uuid))
            return OK;
    return NOT_FOUND;
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
