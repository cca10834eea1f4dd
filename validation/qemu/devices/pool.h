/* A first-come-first-served pool of servers, in virtual time.
 *
 * A request that comes at `now` begins when the first server is free and ends a service time later; it is answered
 * then. No thread stands for a server, so neither wake-ups nor context switches are part of a service: a late answer
 * delays its own request only. Service times are played from a file of doubles [s], in order, from its start again
 * after its end, so that any law can be had and is the same in every run. Each of several pools begins in a part of the
 * file of its own: with the same times disks that go on together would stay in step.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct pool {
    pthread_mutex_t lock;
    size_t servers;        /* 0: as many as there are requests */
    int64_t *free_at;      /* when each server is free [ns], a heap with the earliest first */
    const double *times;
    size_t count, next;
};

static int64_t clock_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct timespec as_time(int64_t ns) {
    return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

static inline void sleep_until(int64_t ns) {
    struct timespec t = as_time(ns);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

/* Begin at part `part` of `parts` of the file; 0, or -1 with errno set. */
static int pool_init(struct pool *pool, size_t servers, const char *file, size_t part, size_t parts) {
    struct stat about;
    int fd = open(file, O_RDONLY);
    if (fd < 0)
        return -1;
    if (fstat(fd, &about) < 0 || about.st_size < (off_t)sizeof(double)) {
        close(fd);
        errno = EINVAL;
        return -1;
    }
    pool->times = mmap(NULL, about.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (pool->times == MAP_FAILED)
        return -1;
    pool->count = about.st_size / sizeof(double);
    pool->next = pool->count * part / parts;
    pool->servers = servers;
    pool->free_at = calloc(servers ? servers : 1, sizeof(int64_t));
    pthread_mutex_init(&pool->lock, NULL);
    return pool->free_at ? 0 : -1;
}

/* When a request that comes at `now`, not before those that came so far, is done [ns]. */
static int64_t pool_served_by(struct pool *pool, int64_t now) {
    int64_t service = (int64_t)(pool->times[pool->next] * 1e9);
    pool->next = (pool->next + 1) % pool->count;
    int64_t begin = now;
    if (pool->servers && pool->free_at[0] > now)
        begin = pool->free_at[0];
    int64_t end = begin + service;
    /* the earliest server takes it: sift its new time down the heap */
    size_t i = 0, child;
    while ((child = 2 * i + 1) < pool->servers) {
        if (child + 1 < pool->servers && pool->free_at[child + 1] < pool->free_at[child])
            child++;
        if (pool->free_at[child] >= end)
            break;
        pool->free_at[i] = pool->free_at[child];
        i = child;
    }
    pool->free_at[i] = end;
    return end;
}

/* When a request that has come just now is done [ns]. */
static int64_t pool_serve(struct pool *pool) {
    pthread_mutex_lock(&pool->lock);
    int64_t end = pool_served_by(pool, clock_now());
    pthread_mutex_unlock(&pool->lock);
    return end;
}
