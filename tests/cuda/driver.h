// A stand-in for NVIDIA's driver, libcuda.so.1: what cuda.core calls of it, on the memory of the CPU.
//
// It checks calls, not a GPU: that a context is entered, that memory is the device's, that what is read is done. Streams
// put off their work as long as they may, until somebody waits for it, so a missing wait shows as a wrong number. A graph
// is the work of a stream that was being captured. Kernels are run by a function of the tests (`test_set_launch`); a
// "cubin" is a text, the number of its kernel's arguments and anything else.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Result;
enum { OK, INVALID = 1, NO_MEMORY = 2, NO_CONTEXT = 201, BAD_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600,
       BAD_ADDRESS = 700, UNSUPPORTED = 801, IN_CAPTURE = 900 };
enum { DEVICES = 2, CELLS = 64, TOTAL = 64 << 20 };

typedef struct Context { int device, retained; } Context;
typedef struct Kernel Kernel;
typedef struct Library { char *text; Kernel *first; } Library;
struct Kernel { Library *library; char name[128]; Kernel *next; };
typedef struct Event { int times, done; struct Stream *stream; } Event;
typedef enum { COPY, FILL, LAUNCH, RECORD, WAIT } Kind;
typedef struct Work {
    Kind kind;
    char *target, *source, *staged;
    size_t size;
    int value, times;
    Event *event;
    Kernel *kernel;
    unsigned grid[3], block[3];
    int64_t cells[CELLS];
    struct Work *next;
} Work;
typedef struct Graph { Work *first; } Graph;
typedef struct Stream { Context *context; Work *first, *last; Graph *capturing; int dead; struct Stream *next; } Stream;
typedef struct Area { char *start; size_t size; int device; struct Area *next; } Area;
typedef int (*Launch)(const char *text, const char *name, const unsigned *grid, const unsigned *block, int64_t *cells);

static Context contexts[DEVICES] = {{0, 0}, {1, 0}};
static Stream legacy[DEVICES] = {{&contexts[0]}, {&contexts[1]}}, *streams;
static Area *areas;
static size_t used, limit = TOTAL;
static Launch run_kernel;
static int64_t calls[3];  // launches, copies from the host, allocations
static __thread Context *stack[16];
static __thread int depth;
static pthread_mutex_t lock;

__attribute__((constructor)) static void begin(void) {
    pthread_mutexattr_t kind;
    pthread_mutexattr_init(&kind);
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&lock, &kind);
}

#define CONTEXT (depth ? stack[depth - 1] : NULL)
#define LOCKED pthread_mutex_lock(&lock)
#define RETURN(value) do { Result result_ = (value); pthread_mutex_unlock(&lock); return result_; } while (0)
#define NEED_CONTEXT do { if (!CONTEXT) return NO_CONTEXT; } while (0)

// Work

static Stream *stream_of(void *handle) {
    if (handle == NULL || handle == (void *)1) return CONTEXT ? &legacy[CONTEXT->device] : NULL;
    return handle;
}

static Area *area_of(const char *at, size_t size, int device) {
    for (Area *a = areas; a; a = a->next)
        if (at >= a->start && at + size <= a->start + a->size && (device == -2 || a->device == device)) return a;
    return NULL;
}

static int on_a_device(const char *at, size_t size) { return area_of(at, size, 0) || area_of(at, size, 1); }

static Result run_until(Stream *stream, Event *event, int times);

static Result do_work(Work *w) {
    Result result = OK;
    if (w->kind == COPY) memmove(w->target, w->staged ? w->staged : w->source, w->size);
    if (w->kind == FILL) memset(w->target, w->value, w->size);
    if (w->kind == LAUNCH) result = run_kernel ? run_kernel(w->kernel->library->text, w->kernel->name, w->grid, w->block, w->cells) : OK;
    if (w->kind == RECORD) w->event->done = w->times;
    if (w->kind == WAIT && w->event->done < w->times && w->event->stream)
        result = run_until(w->event->stream, w->event, w->times);
    return result;
}

static Result run_until(Stream *stream, Event *event, int times) {
    while (stream->first && !(event && event->done >= times)) {
        Work *w = stream->first;
        stream->first = w->next;
        if (!stream->first) stream->last = NULL;
        Result result = do_work(w);
        free(w->staged);
        free(w);
        if (result) return result;
    }
    return OK;
}

static Result run_all(void) {
    Result result = run_until(&legacy[0], NULL, 0);
    if (!result) result = run_until(&legacy[1], NULL, 0);
    for (Stream *s = streams; s && !result; s = s->next)
        if (!s->capturing) result = run_until(s, NULL, 0);
    return result;
}

static void put(Stream *stream, const Work *work) {
    Work *w = malloc(sizeof *w);
    *w = *work;
    w->next = NULL;
    if (stream->last) stream->last->next = w; else stream->first = w;
    stream->last = w;
}

static Result copy(char *target, char *source, size_t size, int to_device, int from_device, void *handle) {
    NEED_CONTEXT;
    LOCKED;
    Work w = {COPY, target, source, NULL, size};
    if ((to_device && !on_a_device(target, size)) || (from_device && !on_a_device(source, size))) RETURN(INVALID);
    Stream *stream = stream_of(handle);
    if (!to_device && stream->capturing) RETURN(IN_CAPTURE);
    if (!from_device) calls[1]++;
    if (!from_device && !area_of(source, size, -1)) {  // pageable: read at once
        w.staged = malloc(size);
        memcpy(w.staged, source, size);
    }
    put(stream, &w);
    RETURN(OK);
}

Result cuMemcpyHtoDAsync_v2(char *t, char *s, size_t n, void *h) { return copy(t, s, n, 1, 0, h); }
Result cuMemcpyDtoHAsync_v2(char *t, char *s, size_t n, void *h) { return copy(t, s, n, 0, 1, h); }
Result cuMemcpyDtoDAsync_v2(char *t, char *s, size_t n, void *h) { return copy(t, s, n, 1, 1, h); }
Result cuMemcpyPeerAsync(char *t, void *tc, char *s, void *sc, size_t n, void *h) {
    if (!area_of(t, n, ((Context *)tc)->device) || !area_of(s, n, ((Context *)sc)->device)) return INVALID;
    return copy(t, s, n, 1, 1, h);
}
Result cuMemsetD8Async(char *t, unsigned char value, size_t n, void *h) {
    NEED_CONTEXT;
    LOCKED;
    Work w = {FILL, t, .size = n, .value = value};
    if (!on_a_device(t, n)) RETURN(INVALID);
    put(stream_of(h), &w);
    RETURN(OK);
}

Result cuLaunchKernel(Kernel *kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                      unsigned shared, void *handle, void **arguments, void **extra) {
    NEED_CONTEXT;
    Work w = {LAUNCH, .kernel = kernel, .grid = {gx, gy, gz}, .block = {bx, by, bz}};
    int count = atoi(kernel->library->text);
    for (int j = 0; j < count; j++) memcpy(&w.cells[j], arguments[j], 8);
    LOCKED;
    calls[0]++;
    put(stream_of(handle), &w);
    RETURN(OK);
}

// Memory

static Result allocate(char **out, size_t size, int device) {
    NEED_CONTEXT;
    LOCKED;
    if (used + size > limit) RETURN(NO_MEMORY);
    Area *a = malloc(sizeof *a);
    *a = (Area){aligned_alloc(256, (size + 255) / 256 * 256), size, device, areas};
    memset(a->start, 0xff, size);
    areas = a;
    used += size;
    calls[2]++;
    *out = a->start;
    RETURN(OK);
}

static Result release(char *at) {
    NEED_CONTEXT;
    LOCKED;
    Result result = run_all();
    for (Area **a = &areas; *a; a = &(*a)->next)
        if ((*a)->start == at) {
            Area *gone = *a;
            *a = gone->next;
            used -= gone->size;
            memset(gone->start, 0xff, gone->size);
            free(gone->start);
            free(gone);
            RETURN(result);
        }
    RETURN(INVALID);
}

Result cuMemAlloc_v2(char **out, size_t n) { return allocate(out, n, CONTEXT ? CONTEXT->device : 0); }
Result cuMemFree_v2(char *at) { return release(at); }
Result cuMemHostAlloc(char **out, size_t n, unsigned flags) { return allocate(out, n, -1); }
Result cuMemFreeHost(char *at) { return release(at); }
Result cuMemGetInfo_v2(size_t *free_, size_t *total) { NEED_CONTEXT; *free_ = limit - used; *total = limit; return OK; }

// Devices and contexts

Result cuInit(unsigned flags) { return OK; }
Result cuDriverGetVersion(int *version) { *version = 13000; return OK; }
Result cuDeviceGetCount(int *count) { *count = DEVICES; return OK; }
Result cuDeviceGet(int *device, int index) { *device = index; return index < DEVICES ? OK : 101; }
Result cuDeviceGetName(char *name, int length, int device) { snprintf(name, length, "stand-in %d", device); return OK; }
Result cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = TOTAL; return OK; }
Result cuDeviceGetUuid_v2(char *uuid, int device) { memset(uuid, device, 16); return OK; }
Result cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 9 : attribute == 16 ? 132 : attribute == 115 ? 1 : 0;  // capability, processors, pools
    return OK;
}
Result cuDevicePrimaryCtxRetain(Context **out, int device) { *out = &contexts[device]; (*out)->retained++; return OK; }
Result cuDevicePrimaryCtxRelease_v2(int device) { contexts[device].retained--; return OK; }
Result cuCtxSetCurrent(Context *context) { depth = context ? 1 : 0; stack[0] = context; return OK; }
Result cuCtxGetCurrent(Context **out) { *out = CONTEXT; return OK; }
Result cuCtxPushCurrent_v2(Context *context) { stack[depth++] = context; return OK; }
Result cuCtxPopCurrent_v2(Context **out) { if (out) *out = CONTEXT; depth -= depth > 0; return OK; }
Result cuCtxGetDevice(int *device) { NEED_CONTEXT; *device = CONTEXT->device; return OK; }
Result cuCtxGetDevice_v2(int *device, Context *context) { *device = (context ? context : CONTEXT)->device; return OK; }
Result cuCtxSynchronize(void) { NEED_CONTEXT; LOCKED; RETURN(run_all()); }

// Streams and events

Result cuStreamCreateWithPriority(Stream **out, unsigned flags, int priority) {
    NEED_CONTEXT;
    LOCKED;
    *out = calloc(1, sizeof **out);
    (*out)->context = CONTEXT;
    (*out)->next = streams;
    streams = *out;
    RETURN(OK);
}
Result cuStreamCreate(Stream **out, unsigned flags) { return cuStreamCreateWithPriority(out, flags, 0); }
Result cuStreamDestroy_v2(Stream *stream) { stream->dead = 1; return OK; }  // its work is still done
Result cuStreamGetCtx(void *h, Context **out) { *out = stream_of(h) ? stream_of(h)->context : CONTEXT; return OK; }
Result cuStreamGetCtx_v2(void *h, Context **out, void **green) { *green = NULL; return cuStreamGetCtx(h, out); }
Result cuStreamGetDevice(void *h, int *device) { *device = stream_of(h)->context->device; return OK; }
Result cuStreamGetFlags(void *h, unsigned *flags) { *flags = 1; return OK; }
Result cuStreamGetPriority(void *h, int *priority) { *priority = 0; return OK; }
Result cuCtxGetStreamPriorityRange(int *least, int *greatest) { *least = 0; *greatest = -5; return OK; }
Result cuStreamSynchronize(void *h) {
    NEED_CONTEXT;
    LOCKED;
    if (stream_of(h)->dead) RETURN(BAD_HANDLE);
    if (stream_of(h)->capturing) RETURN(IN_CAPTURE);
    RETURN(run_until(stream_of(h), NULL, 0));
}
Result cuStreamQuery(void *h) { LOCKED; RETURN(stream_of(h)->first ? NOT_READY : OK); }
Result cuEventCreate(Event **out, unsigned flags) { NEED_CONTEXT; *out = calloc(1, sizeof **out); return OK; }
Result cuEventDestroy_v2(Event *event) { return OK; }  // kept, for the work that still names it
Result cuEventRecord(Event *event, void *h) {
    NEED_CONTEXT;
    LOCKED;
    Stream *stream = stream_of(h);
    Work w = {RECORD, .event = event, .times = ++event->times};
    event->stream = stream;
    put(stream, &w);
    RETURN(OK);
}
Result cuEventRecordWithFlags(Event *event, void *h, unsigned flags) { return cuEventRecord(event, h); }
Result cuEventQuery(Event *event) { return event->done < event->times ? NOT_READY : OK; }
Result cuEventSynchronize(Event *event) {
    LOCKED;
    if (event->done >= event->times) RETURN(OK);
    RETURN(run_until(event->stream, event, event->times));
}
Result cuEventElapsedTime_v2(float *time, Event *start, Event *end) {
    *time = 1.5f;
    return cuEventQuery(start) || cuEventQuery(end) ? NOT_READY : OK;
}
Result cuStreamWaitEvent(void *h, Event *event, unsigned flags) {
    LOCKED;
    Work w = {WAIT, .event = event, .times = event->times};
    put(stream_of(h), &w);
    RETURN(OK);
}

// Kernels

Result cuLibraryLoadData(Library **out, const char *text, void *a, void *b, unsigned c, void *d, void *e, unsigned f) {
    *out = calloc(1, sizeof **out);
    (*out)->text = strdup(text);
    return OK;
}
Result cuLibraryUnload(Library *library) { return OK; }
Result cuLibraryGetKernel(Kernel **out, Library *library, const char *name) {
    if (!strstr(library->text, name)) return NOT_FOUND;
    *out = calloc(1, sizeof **out);
    (*out)->library = library;
    snprintf((*out)->name, sizeof (*out)->name, "%s", name);
    return OK;
}

// Graphs

Result cuStreamBeginCapture_v2(Stream *stream, int mode) {
    if (stream->first) return INVALID;  // of the tests: nothing is left over from before
    stream->capturing = calloc(1, sizeof(Graph));
    return OK;
}
Result cuStreamIsCapturing(void *h, int *status) { *status = !!stream_of(h)->capturing; return OK; }
Result cuStreamGetCaptureInfo_v2(void *h, int *status, uint64_t *id, Graph **graph, void *a, size_t *count) {
    *status = !!stream_of(h)->capturing;
    if (id) *id = (uint64_t)(uintptr_t)stream_of(h);
    if (graph) *graph = stream_of(h)->capturing;
    if (count) *count = 0;
    return OK;
}
Result cuStreamGetCaptureInfo_v3(void *h, int *status, uint64_t *id, Graph **graph, void *a, void *b, size_t *count) {
    return cuStreamGetCaptureInfo_v2(h, status, id, graph, a, count);
}
Result cuStreamEndCapture(Stream *stream, Graph **out) {
    *out = stream->capturing;
    (*out)->first = stream->first;
    stream->first = stream->last = NULL;
    stream->capturing = NULL;
    return OK;
}
Result cuGraphInstantiateWithParams(Graph **out, Graph *graph, void *parameters) { *out = graph; return OK; }
Result cuGraphInstantiateWithFlags(Graph **out, Graph *graph, uint64_t flags) { *out = graph; return OK; }
Result cuGraphLaunch(Graph *graph, void *h) {
    NEED_CONTEXT;
    LOCKED;
    for (Work *w = graph->first; w; w = w->next) put(stream_of(h), w);
    RETURN(OK);
}
Result cuGraphExecDestroy(Graph *graph) { return OK; }
Result cuGraphDestroy(Graph *graph) { return OK; }
Result cuUserObjectCreate(void **out, void *what, void *destroy, unsigned count, unsigned flags) { *out = what; return OK; }
Result cuUserObjectRelease(void *object, unsigned count) { return OK; }
Result cuGraphRetainUserObject(Graph *graph, void *object, unsigned count, unsigned flags) { return OK; }
Result cuGraphReleaseUserObject(Graph *graph, void *object, unsigned count) { return OK; }

// Errors, and how the functions are found

Result cuGetErrorName(Result code, const char **out) { *out = "STAND_IN_ERROR"; return OK; }
Result cuGetErrorString(Result code, const char **out) { *out = "an error of the stand-in"; return OK; }

static Result missing(void) { return UNSUPPORTED; }

#include <dlfcn.h>
Result cuGetProcAddress_v2(const char *name, void **out, int version, uint64_t flags, int *status) {
    static void *self;
    if (!self) self = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    char longer[128];
    *out = NULL;
    for (int suffix = 3; suffix > 0 && !*out; suffix--) {
        snprintf(longer, sizeof longer, suffix > 1 ? "%s_v%d" : "%s", name, suffix);
        *out = dlsym(self, longer);
    }
    if (!*out) *out = (void *)missing;
    if (status) *status = 0;
    return OK;
}

// For the tests

void test_set_launch(Launch launch) { run_kernel = launch; }
void test_set_limit(size_t bytes) { limit = bytes; }
int64_t test_calls(int which) { return calls[which]; }
int test_pending(void) {
    int count = 0;
    for (int j = 0; j < DEVICES; j++) for (Work *w = legacy[j].first; w; w = w->next) count++;
    for (Stream *s = streams; s; s = s->next) for (Work *w = s->first; w; w = w->next) count++;
    return count;
}
