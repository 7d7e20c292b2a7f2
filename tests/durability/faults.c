/* Makes the disk fail on demand: preloaded into the service by tests/durability/faults.
 *
 * Calls on files below FAULTS_DIR fail with the errno that the shared page FAULTS_CONTROL holds for
 * their kind, `left` times (-1 = until switched off). Everything else goes to the C library. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

enum kind { WRITE, SYNC, TRUNCATE, OPEN, SHORT, KINDS };

/* In the order of tests/durability/faults: three 32-bit numbers a kind. */
static volatile struct {
    int number;   /* errno; 0 = no fault */
    int left;     /* how many calls still fail; -1 = all */
    int injected; /* how many did */
} *control;
static const char *below;

__attribute__((constructor)) static void start(void) {
    const char *file = getenv("FAULTS_CONTROL");
    below = getenv("FAULTS_DIR");
    int fd = file && below ? open(file, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED) control = page;
    close(fd);
}

static int is_ours(const char *path) { return strncmp(path, below, strlen(below)) == 0; }

static int fd_is_ours(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_ours(path);
}

/* The errno that this call has to fail with, or 0. */
static int fault(enum kind kind) {
    int number = control[kind].number, left;
    if (!number) return 0;
    do {
        left = control[kind].left;
        if (left == 0) return 0;
    } while (left > 0 && !__sync_bool_compare_and_swap(&control[kind].left, left, left - 1));
    __sync_fetch_and_add(&control[kind].injected, 1);
    return number;
}

static int fails(enum kind kind, int fd) {
    if (!control || !control[kind].number || !fd_is_ours(fd)) return 0;
    int number = fault(kind);
    if (number) errno = number;
    return number;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(write);
    if (fails(WRITE, fd)) return -1;
    if (count > 1 && fails(SHORT, fd)) count /= 2;
    return real(fd, bytes, count);
}
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    REAL(pwrite);
    if (fails(WRITE, fd)) return -1;
    if (count > 1 && fails(SHORT, fd)) count /= 2;
    return real(fd, bytes, count, at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    REAL(pwrite64);
    if (fails(WRITE, fd)) return -1;
    if (count > 1 && fails(SHORT, fd)) count /= 2;
    return real(fd, bytes, count, at);
}
int fsync(int fd) {
    REAL(fsync);
    return fails(SYNC, fd) ? -1 : real(fd);
}
int fdatasync(int fd) {
    REAL(fdatasync);
    return fails(SYNC, fd) ? -1 : real(fd);
}
int ftruncate(int fd, off_t length) {
    REAL(ftruncate);
    return fails(TRUNCATE, fd) ? -1 : real(fd, length);
}
int ftruncate64(int fd, off64_t length) {
    REAL(ftruncate64);
    return fails(TRUNCATE, fd) ? -1 : real(fd, length);
}

#define OPENS(name)                                                                       \
    int name(const char *path, int flags, ...) {                                          \
        REAL(name);                                                                       \
        va_list more;                                                                     \
        va_start(more, flags);                                                            \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;                         \
        va_end(more);                                                                     \
        if (control && control[OPEN].number && (flags & O_ACCMODE) != O_RDONLY && is_ours(path)) { \
            int number = fault(OPEN);                                                     \
            if (number) return errno = number, -1;                                        \
        }                                                                                 \
        return real(path, flags, mode);                                                   \
    }
OPENS(open)
OPENS(open64)
