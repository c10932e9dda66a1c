/*
 * Preloaded into nginx, makes its PUT as durable as an answered SendImage: before a rename the file is synced, after
 * it the folder is. nginx itself never syncs what it stores. A sync that fails makes the rename fail, so nginx answers
 * with an error.
 *
 * When BENCH_SYNC_COUNT names a file of at least 8 octets, the 64-bit number at its start counts the renames made
 * durable: the benchmark proves by it that the shim was at work.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int (*real_rename)(const char *, const char *);
static atomic_ullong *count;

__attribute__((constructor)) static void prepare(void)
{
    const char *path = getenv("BENCH_SYNC_COUNT");
    real_rename = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    if (path == NULL)
        return;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    /* Shared: the workers, forked later, count into the same page. */
    void *page = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page != MAP_FAILED)
        count = page;
}

static int sync_path(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int result = fsync(fd), why = errno;
    close(fd);
    errno = why;
    return result;
}

int rename(const char *from, const char *to)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(to, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - to);
    if (length >= sizeof folder) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(folder, slash == NULL ? "." : to, slash == NULL ? 1 : length);
    folder[slash == NULL ? 1 : length] = 0;
    if (sync_path(from, O_RDONLY) != 0 || real_rename(from, to) != 0 ||
        sync_path(length == 0 && slash != NULL ? "/" : folder, O_RDONLY | O_DIRECTORY) != 0)
        return -1;
    if (count != NULL)
        atomic_fetch_add(count, 1);
    return 0;
}
