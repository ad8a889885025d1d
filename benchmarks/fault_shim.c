/* Makes the n-th write, fsync, rename or open in a folder fail, for benchmarks/fault_sweep.py.

   Loaded before libc (LD_PRELOAD), so that it also sees what Rust and C++ libraries write: the
   safetensors, tokenizers and parquet files. It counts every call that concerns the folder given
   to `fault_arm`, and lets the one with number `n` fail with an error, or kills the process in the
   middle of it. A full disk stays full: from there on nothing can be written. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define KILL -1
#define FILES 65536

static char root[4096], what[4200];
static size_t root_length;
static long counter, chosen;
static int failure, disk_full;
static unsigned char inside[FILES]; /* file descriptors of files in the folder */

void fault_arm(const char *folder, long n, int error) {
    root_length = strlen(folder);
    memcpy(root, folder, root_length + 1);
    counter = 0;
    chosen = n;
    failure = error;
    disk_full = 0;
    what[0] = 0;
}

long fault_count(void) { return counter; }
const char *fault_what(void) { return what; }

static int ours(const char *path) {
    return root_length && path && strncmp(path, root, root_length) == 0;
}

static int open_ours(int fd) { return fd >= 0 && fd < FILES && inside[fd]; }

/* Whether this call has to fail; `fills` is for calls that take room on the disk. */
static int fails(const char *call, const char *path, int fills) {
    long now = __sync_add_and_fetch(&counter, 1);
    if (now != chosen && !(disk_full && fills)) return 0;
    if (now == chosen) {
        snprintf(what, sizeof what, "%s %s", call, path);
        disk_full = failure == ENOSPC;
    }
    return 1;
}

static int fail(void) {
    if (failure == KILL) kill(getpid(), SIGKILL);
    errno = failure;
    return -1;
}

#define REAL(result, name, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int opened(int fd, const char *path) {
    if (fd >= 0 && fd < FILES) inside[fd] = ours(path);
    return fd;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        mode_t mode = 0; \
        va_list rest; \
        va_start(rest, flags); \
        if (flags & (O_CREAT | O_TMPFILE)) mode = va_arg(rest, mode_t); \
        va_end(rest); \
        REAL(int, #name, const char *, int, ...); \
        if (ours(path) && fails("open", path, flags & O_CREAT)) return fail(); \
        return opened(real(path, flags, mode), path); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        mode_t mode = 0; \
        va_list rest; \
        va_start(rest, flags); \
        if (flags & (O_CREAT | O_TMPFILE)) mode = va_arg(rest, mode_t); \
        va_end(rest); \
        REAL(int, #name, int, const char *, int, ...); \
        if (ours(path) && fails("open", path, flags & O_CREAT)) return fail(); \
        return opened(real(folder, path, flags, mode), path); \
    }
OPENAT(openat)
OPENAT(openat64)

/* A write that fails for want of room has written half of it. */
ssize_t write(int fd, const void *bytes, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    if (open_ours(fd) && fails("write", "", 1)) {
        if (failure == KILL && real(fd, bytes, size / 2) < 0) errno = 0;
        return fail();
    }
    return real(fd, bytes, size);
}

#define PWRITE(name) \
    ssize_t name(int fd, const void *bytes, size_t size, off_t place) { \
        REAL(ssize_t, #name, int, const void *, size_t, off_t); \
        if (open_ours(fd) && fails("pwrite", "", 1)) return fail(); \
        return real(fd, bytes, size, place); \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t writev(int fd, const struct iovec *parts, int number) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    if (open_ours(fd) && fails("writev", "", 1)) return fail();
    return real(fd, parts, number);
}

#define SENDFILE(name) \
    ssize_t name(int to, int from, off_t *place, size_t size) { \
        REAL(ssize_t, #name, int, int, off_t *, size_t); \
        if (open_ours(to) && fails("sendfile", "", 1)) return fail(); \
        return real(to, from, place, size); \
    }
SENDFILE(sendfile)
SENDFILE(sendfile64)

ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t size, unsigned flags) {
    REAL(ssize_t, "copy_file_range", int, off64_t *, int, off64_t *, size_t, unsigned);
    if (open_ours(to) && fails("copy_file_range", "", 1)) return fail();
    return real(from, a, to, b, size, flags);
}

#define SYNC(name) \
    int name(int fd) { \
        REAL(int, #name, int); \
        if (open_ours(fd) && fails("fsync", "", 0)) return fail(); \
        return real(fd); \
    }
SYNC(fsync)
SYNC(fdatasync)

#define TWO_PATHS(name) \
    int name(const char *from, const char *to) { \
        REAL(int, #name, const char *, const char *); \
        if (ours(to) && fails(#name, to, 0)) return fail(); \
        return real(from, to); \
    }
TWO_PATHS(rename)
TWO_PATHS(link)

int renameat(int a, const char *from, int b, const char *to) {
    REAL(int, "renameat", int, const char *, int, const char *);
    if (ours(to) && fails("rename", to, 0)) return fail();
    return real(a, from, b, to);
}

int linkat(int a, const char *from, int b, const char *to, int flags) {
    REAL(int, "linkat", int, const char *, int, const char *, int);
    if (ours(to) && fails("link", to, 0)) return fail();
    return real(a, from, b, to, flags);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    if (ours(path) && fails("mkdir", path, 1)) return fail();
    return real(path, mode);
}

int mkdirat(int folder, const char *path, mode_t mode) {
    REAL(int, "mkdirat", int, const char *, mode_t);
    if (ours(path) && fails("mkdir", path, 1)) return fail();
    return real(folder, path, mode);
}
