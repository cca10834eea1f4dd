/* An nbdkit plugin: a disk of zeros on one pool of servers, which all connections share.
 *
 *     nbdkit nbd.so size=BYTES servers=C times=FILE [part=K parts=N] [flush=SECONDS]
 *
 * A flush takes its time beside the pool.
 */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>
#include <string.h>

#include "pool.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

static struct pool pool;
static int64_t size;
static unsigned servers, part, parts = 1;
static char *times;
static double flush_time;

static int configure(const char *key, const char *value) {
    if (strcmp(key, "size") == 0)
        return (size = nbdkit_parse_size(value)) < 0 ? -1 : 0;
    if (strcmp(key, "servers") == 0)
        return nbdkit_parse_unsigned("servers", value, &servers);
    if (strcmp(key, "part") == 0)
        return nbdkit_parse_unsigned("part", value, &part);
    if (strcmp(key, "parts") == 0)
        return nbdkit_parse_unsigned("parts", value, &parts);
    if (strcmp(key, "times") == 0)
        return (times = nbdkit_realpath(value)) ? 0 : -1;
    if (strcmp(key, "flush") == 0) {
        flush_time = atof(value);
        return 0;
    }
    nbdkit_error("unknown parameter %s", key);
    return -1;
}

static int configured(void) {
    if (!size || !times || part >= parts) {
        nbdkit_error("size and times are needed, and a part less than the parts");
        return -1;
    }
    return 0;
}

static int ready(void) {
    if (pool_init(&pool, servers, times, part, parts) == 0)
        return 0;
    nbdkit_error("%s: %m", times);
    return -1;
}

static void *opened(int readonly) { (void)readonly; return NBDKIT_HANDLE_NOT_NEEDED; }
static int64_t get_size(void *handle) { (void)handle; return size; }
static int yes(void *handle) { (void)handle; return 1; }

static int read_zeros(void *handle, void *buffer, uint32_t count, uint64_t offset, uint32_t flags) {
    (void)handle; (void)offset; (void)flags;
    sleep_until(pool_serve(&pool));
    memset(buffer, 0, count);
    return 0;
}

static int write_nowhere(void *handle, const void *buffer, uint32_t count, uint64_t offset, uint32_t flags) {
    (void)handle; (void)buffer; (void)count; (void)offset; (void)flags;
    sleep_until(pool_serve(&pool));
    return 0;
}

static int flush(void *handle, uint32_t flags) {
    (void)handle; (void)flags;
    sleep_until(clock_now() + (int64_t)(flush_time * 1e9));
    return 0;
}

static struct nbdkit_plugin plugin = {
    .name = "qtheory",
    .config = configure,
    .config_complete = configured,
    .get_ready = ready,
    .open = opened,
    .get_size = get_size,
    .can_multi_conn = yes,
    .can_write = yes,
    .can_flush = yes,
    .pread = read_zeros,
    .pwrite = write_nowhere,
    .flush = flush,
};

NBDKIT_REGISTER_PLUGIN(plugin)
