/* Lets system calls on chosen files fail, so that tests see what a program does then.
 *
 *   cc -shared -fPIC -o failing_io.so failing_io.c -ldl
 *   FAULT_CALLS=write,sync FAULT_PATH=/dataset FAULT_AFTER=17 FAULT_ERRNO=28 LD_PRELOAD=./failing_io.so program
 *
 * FAULT_CALLS    some of: read write sync rename create; none, to count them
 * FAULT_PATH     a part of the path of the file
 * FAULT_AFTER    so many of these calls go well (0)
 * FAULT_TIMES    so many strike then (all that follow)
 * FAULT_ERRNO    the error they fail with; instead of failing a call may
 * FAULT_SIGNAL   send the program a signal, or
 * FAULT_COMMAND  have the shell do something before the call goes on
 * FAULT_LOG      a file that gets a line for each call that strikes, and at the end the numbers of calls
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { READ, WRITE, SYNC, RENAME, CREATE, N_KINDS };
static const char *const names[N_KINDS] = {"read", "write", "sync", "rename", "create"};
static atomic_long n_calls[N_KINDS], n_chosen;

static long number(const char *name, long usual)
{
    const char *text = getenv(name);
    return text ? atol(text) : usual;
}

static void note(const char *call, const char *path)
{
    const char *log = getenv("FAULT_LOG");
    FILE *file = log ? fopen(log, "a") : NULL; /* the C library does not call itself through us */
    if (file) {
        fprintf(file, "%s\t%s\n", call, path);
        fclose(file);
    }
}

__attribute__((destructor)) static void note_the_number(void)
{
    for (int kind = 0; kind < N_KINDS; kind++) {
        char text[64];
        snprintf(text, sizeof text, "%s=%ld", names[kind], atomic_load(&n_calls[kind]));
        note("calls", text);
    }
}

/* Tells whether a call on a path is to fail, with errno set. */
static int strikes(enum kind kind, const char *path)
{
    const char *calls = getenv("FAULT_CALLS"), *part = getenv("FAULT_PATH"), *command = getenv("FAULT_COMMAND");
    if (!part || !strstr(path, part))
        return 0;
    atomic_fetch_add(&n_calls[kind], 1);
    if (!calls || !strstr(calls, names[kind]))
        return 0;
    long n = atomic_fetch_add(&n_chosen, 1) - number("FAULT_AFTER", 0);
    if (n < 0 || n >= number("FAULT_TIMES", LONG_MAX))
        return 0;
    note(names[kind], path);
    if (getenv("FAULT_SIGNAL"))
        return kill(getpid(), (int)number("FAULT_SIGNAL", SIGKILL));
    if (command) {
        if (system(command))
            note("command failed", command);
        return 0;
    }
    errno = (int)number("FAULT_ERRNO", EIO);
    return 1;
}

static int strikes_file(enum kind kind, int descriptor)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    return strikes(kind, path);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define WRAP(type, name, parameters, arguments, condition)                                                             \
    type name parameters                                                                                               \
    {                                                                                                                  \
        return (condition) ? (type)-1 : NEXT(name) arguments;                                                          \
    }

#define READS(fd) strikes_file(READ, fd)
#define WRITES(fd) strikes_file(WRITE, fd)
#define VECTORS struct iovec const *v, int n

WRAP(ssize_t, read, (int f, void *b, size_t n), (f, b, n), READS(f))
WRAP(ssize_t, pread, (int f, void *b, size_t n, off_t o), (f, b, n, o), READS(f))
WRAP(ssize_t, pread64, (int f, void *b, size_t n, off64_t o), (f, b, n, o), READS(f))
WRAP(ssize_t, readv, (int f, VECTORS), (f, v, n), READS(f))
WRAP(ssize_t, preadv, (int f, VECTORS, off_t o), (f, v, n, o), READS(f))
WRAP(ssize_t, preadv64, (int f, VECTORS, off64_t o), (f, v, n, o), READS(f))
WRAP(ssize_t, preadv2, (int f, VECTORS, off_t o, int w), (f, v, n, o, w), READS(f))
WRAP(ssize_t, preadv64v2, (int f, VECTORS, off64_t o, int w), (f, v, n, o, w), READS(f))
WRAP(void *, mmap, (void *a, size_t l, int p, int w, int f, off_t o), (a, l, p, w, f, o), f >= 0 && READS(f))
WRAP(void *, mmap64, (void *a, size_t l, int p, int w, int f, off64_t o), (a, l, p, w, f, o), f >= 0 && READS(f))

WRAP(ssize_t, write, (int f, const void *b, size_t n), (f, b, n), WRITES(f))
WRAP(ssize_t, pwrite, (int f, const void *b, size_t n, off_t o), (f, b, n, o), WRITES(f))
WRAP(ssize_t, pwrite64, (int f, const void *b, size_t n, off64_t o), (f, b, n, o), WRITES(f))
WRAP(ssize_t, writev, (int f, VECTORS), (f, v, n), WRITES(f))
WRAP(ssize_t, pwritev, (int f, VECTORS, off_t o), (f, v, n, o), WRITES(f))
WRAP(ssize_t, pwritev64, (int f, VECTORS, off64_t o), (f, v, n, o), WRITES(f))
WRAP(ssize_t, copy_file_range, (int i, off64_t *p, int f, off64_t *o, size_t n, unsigned w), (i, p, f, o, n, w),
     READS(i) || WRITES(f))
ssize_t sendfile(int, int, off_t *, size_t);
ssize_t sendfile64(int, int, off64_t *, size_t);
WRAP(ssize_t, sendfile, (int f, int i, off_t *o, size_t n), (f, i, o, n), READS(i) || WRITES(f))
WRAP(ssize_t, sendfile64, (int f, int i, off64_t *o, size_t n), (f, i, o, n), READS(i) || WRITES(f))

WRAP(int, fsync, (int f), (f), strikes_file(SYNC, f))
WRAP(int, fdatasync, (int f), (f), strikes_file(SYNC, f))
WRAP(int, rename, (const char *a, const char *b), (a, b), strikes(RENAME, b))
WRAP(int, renameat, (int c, const char *a, int d, const char *b), (c, a, d, b), strikes(RENAME, b))
WRAP(int, mkdir, (const char *p, mode_t m), (p, m), strikes(CREATE, p))

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...)                                                                         \
    {                                                                                                                  \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = va_arg(rest, mode_t);                                                                            \
        va_end(rest);                                                                                                  \
        return (flags & (O_WRONLY | O_RDWR | O_CREAT)) && strikes(CREATE, path) ? -1 : NEXT(name)(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
