/* A file system of N disks of zeros, disk0 to disk(N-1), each on its own pool of servers or all on one.
 *
 *     files MOUNTPOINT DISKS SIZE SERVERS own|shared TIMES FLUSH
 *
 * What nbdkit cannot be asked, how QEMU's engines for files do, can be asked of such files. Requests are answered by one
 * thread when they are done, so that any number may be in flight. A flush takes its time beside the pools.
 */
#define FUSE_USE_VERSION 35
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <string.h>

#include "pool.h"

struct answer {
    int64_t due;
    fuse_req_t request;
    size_t size;
    int kind; /* a read, a write, or neither */
};
enum { READ, WRITE, DONE };

static struct pool *pools;
static size_t disks, size;
static int shared;
static double flush_time;

/* what is to be answered, a heap with the earliest first */
static struct answer *heap;
static size_t held, room;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static char zeros[1 << 20];

static void answer_at(int64_t due, fuse_req_t request, int kind, size_t count) {
    pthread_mutex_lock(&lock);
    if (held == room) {
        room = room ? 2 * room : 1024;
        if (!(heap = realloc(heap, room * sizeof *heap)))
            abort();
    }
    size_t i = held++;
    for (; i && heap[(i - 1) / 2].due > due; i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = (struct answer){due, request, count, kind};
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static struct answer take_first(void) {
    struct answer first = heap[0], last = heap[--held];
    size_t i = 0, child;
    while ((child = 2 * i + 1) < held) {
        if (child + 1 < held && heap[child + 1].due < heap[child].due)
            child++;
        if (heap[child].due >= last.due)
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return first;
}

static void *answer_all(void *unused) {
    (void)unused;
    pthread_mutex_lock(&lock);
    for (;;) {
        if (!held) {
            pthread_cond_wait(&changed, &lock);
        } else if (heap[0].due > clock_now()) {
            struct timespec due = as_time(heap[0].due);
            pthread_cond_timedwait(&changed, &lock, &due);
        } else {
            struct answer first = take_first();
            pthread_mutex_unlock(&lock);
            if (first.kind == READ)
                fuse_reply_buf(first.request, zeros, first.size);
            else if (first.kind == WRITE)
                fuse_reply_write(first.request, first.size);
            else
                fuse_reply_err(first.request, 0);
            pthread_mutex_lock(&lock);
        }
    }
    return NULL;
}

static int64_t served(fuse_ino_t inode) { return pool_serve(&pools[shared ? 0 : inode - 2]); }

static void about(fuse_ino_t inode, struct stat *stat) {
    *stat = (struct stat){.st_ino = inode, .st_nlink = 1};
    stat->st_mode = inode == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0644;
    stat->st_size = inode == FUSE_ROOT_ID ? 0 : size;
    stat->st_blksize = 4096;
    stat->st_blocks = stat->st_size / 512;
}

static void init(void *unused, struct fuse_conn_info *connection) {
    (void)unused;
    pthread_t thread;
    connection->max_background = 65535;
    connection->congestion_threshold = 65535;
    connection->want |= connection->capable & FUSE_CAP_ASYNC_DIO;
    pthread_create(&thread, NULL, answer_all, NULL);
}

static void lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
    unsigned number;
    char rest;
    if (parent != FUSE_ROOT_ID || sscanf(name, "disk%u%c", &number, &rest) != 1 || number >= disks) {
        fuse_reply_err(request, ENOENT);
        return;
    }
    struct fuse_entry_param entry = {.ino = number + 2, .attr_timeout = 3600, .entry_timeout = 3600};
    about(entry.ino, &entry.attr);
    fuse_reply_entry(request, &entry);
}

static void getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file) {
    (void)file;
    struct stat stat;
    about(inode, &stat);
    fuse_reply_attr(request, &stat, 3600);
}

static void open_file(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file) {
    if (inode == FUSE_ROOT_ID)
        fuse_reply_err(request, EISDIR);
    else
        fuse_reply_open(request, file);
}

static void read_file(fuse_req_t request, fuse_ino_t inode, size_t count, off_t offset, struct fuse_file_info *file) {
    (void)file;
    size_t left = offset < (off_t)size ? size - offset : 0;
    count = count < left ? count : left;
    answer_at(served(inode), request, READ, count < sizeof zeros ? count : sizeof zeros);
}

static void write_file(fuse_req_t request, fuse_ino_t inode, const char *data, size_t count, off_t offset,
                       struct fuse_file_info *file) {
    (void)data; (void)offset; (void)file;
    answer_at(served(inode), request, WRITE, count);
}

static void flush(fuse_req_t request, fuse_ino_t inode, int datasync, struct fuse_file_info *file) {
    (void)inode; (void)datasync; (void)file;
    answer_at(clock_now() + (int64_t)(flush_time * 1e9), request, DONE, 0);
}

static const struct fuse_lowlevel_ops operations = {
    .init = init, .lookup = lookup, .getattr = getattr, .open = open_file,
    .read = read_file, .write = write_file, .fsync = flush,
};

static int failed(const char *what) {
    fprintf(stderr, "files: %s: %s\n", what, strerror(errno));
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 8) {
        fputs("usage: files MOUNTPOINT DISKS SIZE SERVERS own|shared TIMES FLUSH\n", stderr);
        return 2;
    }
    disks = atoi(argv[2]);
    size = atoll(argv[3]);
    shared = strcmp(argv[5], "shared") == 0;
    flush_time = atof(argv[7]);
    pools = calloc(disks, sizeof *pools);
    for (size_t i = 0; i < (shared ? 1 : disks); i++)
        if (pool_init(&pools[i], atoi(argv[4]), argv[6], i, disks) < 0)
            return failed(argv[6]);

    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&changed, &monotonic);

    char *arguments[] = {argv[0], "-ofsname=qtheory"};
    struct fuse_args args = FUSE_ARGS_INIT(2, arguments);
    struct fuse_session *session = fuse_session_new(&args, &operations, sizeof operations, NULL);
    if (!session || fuse_set_signal_handlers(session) < 0 || fuse_session_mount(session, argv[1]) < 0)
        return failed(argv[1]);
    int status = fuse_session_loop(session);
    fuse_session_unmount(session);
    fuse_session_destroy(session);
    return status ? 1 : 0;
}
