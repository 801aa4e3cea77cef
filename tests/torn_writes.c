/* Preloaded, this stands between SQLite and the system: at the n-th call on the files of a store that writes, flushes or
   cuts, it fails, writes a part, or ends the process. Unless armed it passes everything on. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { FAIL, SHORT, KILL_BEFORE, KILL_WITHIN, KILL_AFTER };

static long armed, calls, chosen;
static int how, failure;

void torn_arm(long at, int kind, int error) { armed = 1, calls = 0, chosen = at, how = kind, failure = error; }
long torn_calls(void) { return calls; }

/* Whether this call is the chosen one. */
static int is_chosen(int file) {
    char link[64], path[PATH_MAX];
    ssize_t length;
    if (!armed) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, "/store.sqlite") != NULL && calls++ == chosen;
}

static void end(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

/* What a call that writes `count` bytes comes to; `part` writes so many of them. */
#define WRITTEN(part)                                                                                                   \
    if (is_chosen(file)) switch (how) {                                                                                 \
        case FAIL: errno = failure; return -1;                                                                          \
        case SHORT: count = count > 1 ? count / 2 : count; break;                                                       \
        case KILL_BEFORE: end();                                                                                        \
        case KILL_WITHIN: count /= 2; part; end();                                                                      \
        case KILL_AFTER: part; end();                                                                                   \
    }                                                                                                                   \
    return part

/* What another call comes to. */
#define DONE(all)                                                                                                       \
    if (is_chosen(file)) switch (how) {                                                                                 \
        case FAIL: errno = failure; return -1;                                                                          \
        case SHORT: break;                                                                                              \
        case KILL_AFTER: all; end();                                                                                    \
        default: end();                                                                                                 \
    }                                                                                                                   \
    return all

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int file, const void *from, size_t count) { WRITTEN(REAL(write)(file, from, count)); }
ssize_t pwrite(int file, const void *from, size_t count, off_t at) { WRITTEN(REAL(pwrite)(file, from, count, at)); }
ssize_t pwrite64(int file, const void *from, size_t count, off64_t at) { WRITTEN(REAL(pwrite64)(file, from, count, at)); }
int fsync(int file) { DONE(REAL(fsync)(file)); }
int fdatasync(int file) { DONE(REAL(fdatasync)(file)); }
int ftruncate(int file, off_t size) { DONE(REAL(ftruncate)(file, size)); }
int ftruncate64(int file, off64_t size) { DONE(REAL(ftruncate64)(file, size)); }
