/* Makes the file system refuse or wait, for tests. Preloaded into the server; the file that DISK_FAULTS names
   tells the rules, one a line: KIND ERRNO MILLISECONDS PREFIX. What concerns a file whose path begins with PREFIX
   waits, then fails with ERRNO unless that is 0. KIND is "write" (bytes and lengths of files), "sync", or "name"
   (opening to write, creating, renaming, removing). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static size_t rules(char *text, size_t size) {
    const char *file = getenv("DISK_FAULTS");
    if (!file) return 0;
    int before = errno;
    int fd = syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC);
    long count = fd < 0 ? 0 : syscall(SYS_read, fd, text, size - 1);
    if (fd >= 0) syscall(SYS_close, fd);
    errno = before;
    if (count < 0) count = 0;
    text[count] = 0;
    return count;
}

static int judge(char *text, const char *kind, const char *path) {
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        char of[16], prefix[512];
        int error, milliseconds;
        if (sscanf(line, "%15s %d %d %511s", of, &error, &milliseconds, prefix) != 4) continue;
        if (strcmp(of, kind) || strncmp(path, prefix, strlen(prefix))) continue;
        struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
        nanosleep(&pause, NULL);
        return error;
    }
    return 0;
}

static int of_path(const char *kind, const char *path) {
    char text[4096];
    return rules(text, sizeof text) ? judge(text, kind, path) : 0;
}

static int of_file(const char *kind, int fd) {
    char text[4096], link[64], path[4096];
    if (!rules(text, sizeof text)) return 0;
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long count = readlink(link, path, sizeof path - 1);
    errno = before;
    if (count < 0) return 0;
    path[count] = 0;
    return judge(text, kind, path);
}

static int refused(int error) {
    errno = error;
    return -1;
}

/* A disk that is full takes a part first. */
static size_t taken(int error, size_t count) {
    return error == ENOSPC && count > 512 ? count / 2 : 0;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    int error = of_file("write", fd);
    if (error && !taken(error, count)) return refused(error);
    return syscall(SYS_write, fd, bytes, error ? taken(error, count) : count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    int error = of_file("write", fd);
    if (error && !taken(error, count)) return refused(error);
    return syscall(SYS_pwrite64, fd, bytes, error ? taken(error, count) : count, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    return pwrite64(fd, bytes, count, at);
}

int ftruncate64(int fd, off64_t length) {
    int error = of_file("write", fd);
    /* To cut a file takes no space. */
    if (error && error != ENOSPC) return refused(error);
    return syscall(SYS_ftruncate, fd, length);
}

int ftruncate(int fd, off_t length) {
    return ftruncate64(fd, length);
}

int fsync(int fd) {
    int error = of_file("sync", fd);
    return error ? refused(error) : syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
    int error = of_file("sync", fd);
    return error ? refused(error) : syscall(SYS_fdatasync, fd);
}

static int opened(int folder, const char *path, int flags, mode_t mode) {
    int writes = flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC);
    int error = writes ? of_path("name", path) : 0;
    return error ? refused(error) : syscall(SYS_openat, folder, path, flags, mode);
}

#define OPEN(name, parameters, folder, large)                                   \
    int name parameters {                                                       \
        va_list more;                                                           \
        va_start(more, flags);                                                  \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more);                                                           \
        return opened(folder, path, flags | (large), mode);                     \
    }

OPEN(open, (const char *path, int flags, ...), AT_FDCWD, 0)
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD, O_LARGEFILE)
OPEN(openat, (int folder, const char *path, int flags, ...), folder, 0)
OPEN(openat64, (int folder, const char *path, int flags, ...), folder, O_LARGEFILE)

int mkdir(const char *path, mode_t mode) {
    int error = of_path("name", path);
    return error ? refused(error) : syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int rename(const char *from, const char *to) {
    int error = of_path("name", to);
    return error ? refused(error) : syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlink(const char *path) {
    int error = of_path("name", path);
    return error ? refused(error) : syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}
