/*
 * The disk's own limit: N threads, each writing files as a careful server must, without any network.
 * A file: create under a temporary name, write, fsync, rename, fsync the folder. Prints one JSON object.
 *
 * Usage: rawdisk FOLDER FILE CONNECTIONS SECONDS WARMUP
 */
#define _GNU_SOURCE
#include "meter.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#define PIECE (512u << 10)

static Bytes content;
static int folder;
static double seconds, warmup;
static pthread_barrier_t all_ready;
static atomic_ullong next_id, started_at;

typedef struct {
    pthread_t thread;
    Latencies latencies;
    uint64_t ended_at;
} Writer;

static uint64_t store_one(uint64_t *began)
{
    char temporary[64], final[64];
    unsigned long long id = atomic_fetch_add(&next_id, 1);
    snprintf(temporary, sizeof temporary, ".%llu.part", id);
    snprintf(final, sizeof final, "%llu.jpg", id);
    *began = now_ns();
    int fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        die("cannot create a file: %s", strerror(errno));
    for (size_t done = 0; done < content.size;) {
        size_t left = content.size - done;
        ssize_t n = write(fd, content.data + done, left < PIECE ? left : PIECE);
        if (n <= 0)
            die("cannot write: %s", strerror(errno));
        done += (size_t)n;
    }
    if (fsync(fd) != 0 || close(fd) != 0 || renameat(folder, temporary, folder, final) != 0 || fsync(folder) != 0)
        die("cannot store: %s", strerror(errno));
    return now_ns();
}

static void *run_writer(void *argument)
{
    Writer *w = argument;
    uint64_t began, ended;
    pthread_barrier_wait(&all_ready);
    uint64_t until = now_ns() + (uint64_t)(warmup * 1e9);
    do
        ended = store_one(&began);
    while (ended < until);
    pthread_barrier_wait(&all_ready);
    uint64_t start = now_ns(), unset = 0;
    atomic_compare_exchange_strong(&started_at, (unsigned long long *)&unset, start);
    until = start + (uint64_t)(seconds * 1e9);
    do {
        ended = store_one(&began);
        latencies_add(&w->latencies, ended - began);
    } while (ended < until);
    w->ended_at = ended;
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 6)
        die("usage: rawdisk FOLDER FILE CONNECTIONS SECONDS WARMUP");
    folder = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        die("cannot open %s: %s", argv[1], strerror(errno));
    content = read_whole(argv[2]);
    int count = atoi(argv[3]);
    seconds = atof(argv[4]);
    warmup = atof(argv[5]);
    Writer *writers = calloc((size_t)count, sizeof *writers);
    if (count < 1 || writers == NULL)
        die("%s is no number of connections", argv[3]);
    pthread_barrier_init(&all_ready, NULL, (unsigned)count);
    for (int i = 0; i < count; i++)
        if (pthread_create(&writers[i].thread, NULL, run_writer, &writers[i]) != 0)
            die("cannot start thread %d", i);
    Latencies all = {0};
    uint64_t end = 0;
    for (int i = 0; i < count; i++) {
        pthread_join(writers[i].thread, NULL);
        latencies_join(&all, &writers[i].latencies);
        if (writers[i].ended_at > end)
            end = writers[i].ended_at;
    }
    print_result(&all, (double)(end - atomic_load(&started_at)) / 1e9, NULL, "");
    return 0;
}
