/* What both load programs share: the clock, files in memory, latencies and their percentiles, the result as JSON. */
#ifndef BENCH_METER_H
#define BENCH_METER_H

#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NANOSECONDS 1000000000ull

/* Ends the program: for what is wrong before any measuring (arguments, files, certificates). */
static inline void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(2);
}

static inline uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NANOSECONDS + (uint64_t)t.tv_nsec;
}

typedef struct {
    char *data;
    size_t size;
} Bytes;

/* Reads a whole file; one NUL follows the data, which `size` does not count. */
static inline Bytes read_whole(const char *path)
{
    struct stat status;
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &status) != 0)
        die("cannot read %s", path);
    Bytes b = {malloc((size_t)status.st_size + 1), (size_t)status.st_size};
    if (b.data == NULL)
        die("no memory for %s", path);
    for (size_t done = 0; done < b.size;) {
        ssize_t n = read(fd, b.data + done, b.size - done);
        if (n <= 0)
            die("cannot read %s", path);
        done += (size_t)n;
    }
    b.data[b.size] = 0;
    close(fd);
    return b;
}

/* The latencies one thread saw, in nanoseconds. */
typedef struct {
    uint64_t *values;
    size_t count, room;
} Latencies;

static inline void latencies_add(Latencies *l, uint64_t value)
{
    if (l->count == l->room) {
        l->room = l->room ? 2 * l->room : 4096;
        l->values = realloc(l->values, l->room * sizeof *l->values);
        if (l->values == NULL)
            die("no memory for latencies");
    }
    l->values[l->count++] = value;
}

static inline void latencies_join(Latencies *all, const Latencies *some)
{
    for (size_t i = 0; i < some->count; i++)
        latencies_add(all, some->values[i]);
}

static int latencies_compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* The smallest value that at least `share` of all are not above (nearest rank), in milliseconds; values are sorted. */
static inline double percentile_ms(const Latencies *sorted, double share)
{
    if (sorted->count == 0)
        return 0;
    double rank = share * (double)sorted->count;
    size_t index = (size_t)rank;
    if ((double)index == rank && index > 0)
        index--;
    if (index >= sorted->count)
        index = sorted->count - 1;
    return (double)sorted->values[index] / 1e6;
}

/* Prints a JSON string, quotes included. */
static inline void print_json_string(const char *text)
{
    putchar('"');
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            printf("\\%c", *c);
        else if (*c < 0x20 || *c > 0x7e)
            printf("\\u%04x", *c);
        else
            putchar(*c);
    }
    putchar('"');
}

/* Prints the result: how many requests ended in how many seconds, and how long each took. `extra` is more JSON. */
static inline void print_result(Latencies *all, double seconds, const char *error, const char *extra)
{
    qsort(all->values, all->count, sizeof *all->values, latencies_compare);
    printf("{\"requests\": %zu, \"seconds\": %.6f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f", all->count,
           seconds, percentile_ms(all, 0.50), percentile_ms(all, 0.99), percentile_ms(all, 1.0));
    printf(", \"error\": ");
    if (error == NULL || *error == 0)
        printf("null");
    else
        print_json_string(error);
    printf("%s}\n", extra);
}

#endif
