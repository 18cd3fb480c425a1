/* The few primitives that the pools of threads and of memory need from the system: 64-bit atomics (all sequentially
   consistent), a mutex, two condition variables, threads, a clock, thread-local blocks, and memory.  POSIX with GNU
   atomics, or Win32. */
#ifndef DLFAST_THREADS_OS_H
#define DLFAST_THREADS_OS_H
#include <stdint.h>
#include <stdlib.h>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <intrin.h>
#include <malloc.h>
#include <process.h>
#include <windows.h>
typedef volatile LONG64 dl_atomic;
static inline int64_t dl_load(dl_atomic *p) { return InterlockedCompareExchange64(p, 0, 0); }
static inline void dl_store(dl_atomic *p, int64_t value) { InterlockedExchange64(p, value); }
static inline int64_t dl_swap(dl_atomic *p, int64_t value) { return InterlockedExchange64(p, value); }
static inline int64_t dl_add(dl_atomic *p, int64_t value) { return InterlockedExchangeAdd64(p, value) + value; }
static inline int dl_cas(dl_atomic *p, int64_t expected, int64_t value) {
    return InterlockedCompareExchange64(p, value, expected) == expected;
}
#define dl_pause() YieldProcessor()
#define dl_yield() SwitchToThread()
static inline int64_t dl_now_ns(void) {
    LARGE_INTEGER count, rate;
    QueryPerformanceCounter(&count);
    QueryPerformanceFrequency(&rate);
    return (int64_t)((double)count.QuadPart * 1e9 / (double)rate.QuadPart);
}
typedef SRWLOCK dl_mutex;
typedef CONDITION_VARIABLE dl_cond;
#define dl_mutex_init(m) InitializeSRWLock(m)
#define dl_cond_init(c) InitializeConditionVariable(c)
#define dl_lock(m) AcquireSRWLockExclusive(m)
#define dl_unlock(m) ReleaseSRWLockExclusive(m)
#define dl_wait(c, m) SleepConditionVariableSRW(c, m, INFINITE, 0)
#define dl_signal(c) WakeConditionVariable(c)
#define dl_broadcast(c) WakeAllConditionVariable(c)
typedef HANDLE dl_thread;
#define DL_THREAD_MAIN(name, arg) static unsigned __stdcall name(void *arg)
static inline int dl_thread_start(dl_thread *thread, unsigned(__stdcall *entry)(void *), void *arg) {
    *thread = (HANDLE)_beginthreadex(NULL, 1 << 20, entry, arg, 0, NULL);
    return *thread ? 0 : -1;
}
static inline void dl_thread_join(dl_thread thread) {
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
}
#define DL_THREAD_LOCAL __declspec(thread)
typedef DWORD dl_local;
#define dl_local_init(key, end) ((*(key) = FlsAlloc(end)) == FLS_OUT_OF_INDEXES ? -1 : 0)
#define dl_local_get(key) FlsGetValue(key)
#define dl_local_set(key, value) (!FlsSetValue(key, value)) /* 0 or an error, as below */
#define dl_aligned_alloc(bytes) _aligned_malloc(bytes, 64)
#define dl_aligned_free(p) _aligned_free(p)
#define DL_LOCAL_END(name, arg) static void NTAPI name(void *arg)
#define dl_at_fork(child) 0
#define dl_around_fork(before, after) 0

#else
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
typedef int64_t dl_atomic;
static inline int64_t dl_load(dl_atomic *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
static inline void dl_store(dl_atomic *p, int64_t value) { __atomic_store_n(p, value, __ATOMIC_SEQ_CST); }
static inline int64_t dl_swap(dl_atomic *p, int64_t value) { return __atomic_exchange_n(p, value, __ATOMIC_SEQ_CST); }
static inline int64_t dl_add(dl_atomic *p, int64_t value) { return __atomic_add_fetch(p, value, __ATOMIC_SEQ_CST); }
static inline int dl_cas(dl_atomic *p, int64_t expected, int64_t value) {
    return __atomic_compare_exchange_n(p, &expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
#if defined(__x86_64__) || defined(__i386__)
#define dl_pause() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define dl_pause() __asm__ volatile("yield")
#else
#define dl_pause() ((void)0)
#endif
#define dl_yield() sched_yield()
static inline int64_t dl_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
typedef pthread_mutex_t dl_mutex;
typedef pthread_cond_t dl_cond;
#define dl_mutex_init(m) pthread_mutex_init(m, NULL)
#define dl_cond_init(c) pthread_cond_init(c, NULL)
#define dl_lock(m) pthread_mutex_lock(m)
#define dl_unlock(m) pthread_mutex_unlock(m)
#define dl_wait(c, m) pthread_cond_wait(c, m)
#define dl_signal(c) pthread_cond_signal(c)
#define dl_broadcast(c) pthread_cond_broadcast(c)
typedef pthread_t dl_thread;
#define DL_THREAD_MAIN(name, arg) static void *name(void *arg)
static inline int dl_thread_start(dl_thread *thread, void *(*entry)(void *), void *arg) {
    sigset_t all, before; /* signals belong to the interpreter's main thread: a worker takes none */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int status = pthread_create(thread, NULL, entry, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}
static inline void dl_thread_join(dl_thread thread) { pthread_join(thread, NULL); }
#define DL_THREAD_LOCAL __thread
typedef pthread_key_t dl_local;
#define dl_local_init(key, end) pthread_key_create(key, end)
#define dl_local_get(key) pthread_getspecific(key)
#define dl_local_set(key, value) pthread_setspecific(key, value)
static inline void *dl_aligned_alloc(size_t bytes) {
    void *p = NULL;
    return posix_memalign(&p, 64, bytes) ? NULL : p;
}
#define dl_aligned_free(p) free(p)
#define DL_LOCAL_END(name, arg) static void name(void *arg)
#define dl_at_fork(child) pthread_atfork(NULL, NULL, child)
#define dl_around_fork(before, after) pthread_atfork(before, after, after)
#endif
#endif
