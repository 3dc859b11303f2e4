/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_file.c - files by their names and places
 */
#include <pthread.h>
#include <sys/stat.h>

#include "tests/runtime/io/process_test.h"
#include "tests/runtime/io/storm.h"

/* A folder of the test's own, and names in it. */
static char folder[32];
static char names[4][64];

static const char *in_folder(int i, const char *name)
{
    if (!*folder) {
        strcpy(folder, "/tmp/fm-file-XXXXXX");
        cr_assert(mkdtemp(folder));
    }
    snprintf(names[i], sizeof names[i], "%s/%s", folder, name);
    return names[i];
}

static void remove_folder(void)
{
    for (int i = 0; i < 4; i++)
        if (*names[i])
            unlink(names[i]);
    cr_assert_eq(rmdir(folder), 0);
}

CLEAN_TEST_ON(file, file_is_written_and_read_at_its_places, 2, FM_CLOCK_REAL)
{
    char got[16] = "";
    int fd;
    cr_assert_eq(fm_open(in_folder(0, "file"), O_RDWR | O_CREAT, 0600, FM_NEVER, &fd), 0);
    cr_assert_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    cr_assert_eq(fm_write(fd, "hello world", 11, FM_NEVER), 11);
    cr_assert_eq(fm_pwrite(fd, "W", 1, 6, FM_NEVER), 1);
    cr_assert_eq(fm_pread(fd, got, 5, 6, FM_NEVER), 5);
    cr_assert_str_eq(got, "World");
    cr_assert_eq(fm_pread(fd, got, 5, 11, FM_NEVER), 0, "the end");
    cr_assert_eq(lseek(fd, 0, SEEK_CUR), 11, "its own place has not moved");
    cr_assert_eq(fm_fsync(fd, FM_NEVER), 0);
    cr_assert_eq(fm_fdatasync(fd, FM_NEVER), 0);
    cr_assert_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED),
                 0); /* or not: both ways must do */
    cr_assert_eq(fm_pread(fd, got, 5, 0, FM_NEVER), 5);
    cr_assert_str_eq(got, "hello");
    cr_assert_eq(fm_close(fd), 0);
    remove_folder();
}

CLEAN_TEST_ON(file, what_cannot_be_done_is_the_result, 2, FM_CLOCK_REAL)
{
    int fd, fds[2];
    char byte;
    in_folder(0, "file");
    cr_assert_eq(fm_open("/no/such/file", O_RDONLY, 0, FM_NEVER, &fd), -ENOENT);
    cr_assert_eq(fm_open("/etc/passwd/x", O_RDONLY, 0, FM_NEVER, &fd), -ENOTDIR);
    cr_assert_eq(fm_open(folder, O_WRONLY, 0, FM_NEVER, &fd), -EISDIR);
    cr_assert_eq(fm_open(folder, O_CREAT | O_EXCL, 0600, FM_NEVER, &fd), -EEXIST);
    cr_assert_eq(fm_open(NULL, O_RDONLY, 0, FM_NEVER, &fd), -EINVAL);
    cr_assert_eq(fm_open(folder, O_RDONLY, 0, FM_NEVER, NULL), -EINVAL);
    cr_assert_eq(fm_pread(0, &byte, 1, -1, FM_NEVER), -EINVAL);
    cr_assert_eq(fm_pwrite(0, &byte, 1, -1, FM_NEVER), -EINVAL);
    cr_assert_eq(fm_pread(1 << 20, &byte, 1, 0, FM_NEVER), -EBADF);
    cr_assert_eq(fm_fsync(1 << 20, FM_NEVER), -EBADF);
    make_pair(fds);
    cr_assert_eq(fm_pread(fds[0], &byte, 1, 0, FM_NEVER), -ESPIPE);
    cr_assert_eq(fm_pwrite(fds[0], &byte, 1, 0, FM_NEVER), -ESPIPE);
    cr_assert_eq(fm_fsync(fds[0], FM_NEVER), -EINVAL);
    close_both(fds);
    remove_folder();
}

static void *use_in_thread(void *arg)
{
    char byte;
    int fd;
    (void)arg;
    cr_assert_eq(fm_open("/", O_RDONLY, 0, FM_NEVER, &fd), -EPERM);
    cr_assert_eq(fm_pread(0, &byte, 1, 0, FM_NEVER), -EPERM);
    cr_assert_eq(fm_fsync(0, FM_NEVER), -EPERM);
    return NULL;
}

TEST(file, files_are_for_fibers)
{
    use_in_thread(NULL);
}

/* ---- who waits ---- */

struct opener {
    const char *path;
    int flags;
    int64_t deadline_ns;
    int fd;
};

static struct fm_exit open_it(void *arg)
{
    struct opener *opener = arg;
    int r = fm_open(opener->path, opener->flags, 0, opener->deadline_ns, &opener->fd);
    return r < 0 ? fm_fail(r) : fm_ok(NULL);
}

/* A pipe with a name is not open before it has been opened from both sides. */
CLEAN_TEST_ON(file, open_that_waits_does_not_hold_the_worker, 1, PASSING_CLOCK)
{
    struct opener reading = { in_folder(0, "fifo"), O_RDONLY, FM_NEVER, -1 };
    struct opener writing = { reading.path, O_WRONLY, FM_NEVER, -1 };
    char byte = 'x';
    cr_assert_eq(mkfifo(reading.path, 0600), 0);
    struct fm_fiber *reader = start(open_it, &reading);
    await_wait(reader);
    cr_assert_eq(finish(start(open_it, &writing)).kind, FM_SUCCESS);
    cr_assert_eq(finish(reader).kind, FM_SUCCESS);
    cr_assert_eq(fm_read(reading.fd, &byte, 1, fm_after_ms(1)), -ETIMEDOUT, "it is polled");
    cr_assert_eq(fm_write(writing.fd, "y", 1, FM_NEVER), 1);
    cr_assert_eq(fm_read(reading.fd, &byte, 1, FM_NEVER), 1);
    cr_assert_eq(byte, 'y');
    cr_assert_eq(fm_close(reading.fd), 0);
    cr_assert_eq(fm_close(writing.fd), 0);
    remove_folder();
}

CLEAN_TEST_ON(file, open_that_nobody_waits_for_any_more_is_undone, 2, FM_CLOCK_REAL)
{
    struct opener late = { in_folder(0, "fifo"), O_RDONLY, fm_after_s(1000), -1 };
    struct opener never = { late.path, O_RDONLY, FM_NEVER, -1 };
    cr_assert_eq(mkfifo(late.path, 0600), 0);
    unsigned before = count_descriptors();
    struct fm_fiber *fiber = start(open_it, &late);
    await_wait(fiber);
    cr_assert(time_out(fiber));
    cr_assert_eq(finish(fiber).code, -ETIMEDOUT);
    fiber = start(open_it, &never);
    await_wait(fiber);
    fm_fiber_interrupt(fiber);
    expect_interruption(finish(fiber), FM_BY_USER);
    cr_assert_eq(late.fd, -1);
    cr_assert_eq(never.fd, -1);
    struct opener writing = { late.path, O_WRONLY, FM_NEVER, -1 };
    cr_assert_eq(finish(start(open_it, &writing)).kind, FM_SUCCESS);
    cr_assert_eq(fm_close(writing.fd), 0);
    int64_t deadline_ns = fm_after_s(10);
    while (count_descriptors() != before && fm_now_ns() < deadline_ns)
        fm_yield();
    cr_assert_eq(count_descriptors(), before);
    remove_folder();
}

static struct fm_exit sync_it(void *arg)
{
    return fm_fail(fm_fsync(*(int *)arg, FM_NEVER));
}

static struct fm_exit leave_a_sync(void *arg)
{
    struct opener fifo = { in_folder(0, "fifo"), O_RDONLY, FM_NEVER, -1 };
    int fd, writer;
    (void)arg;
    cr_assert_eq(mkfifo(fifo.path, 0600), 0);
    cr_assert_eq(fm_open(in_folder(1, "file"), O_RDWR | O_CREAT, 0600, FM_NEVER, &fd), 0);
    struct fm_fiber *holder = start(open_it, &fifo); /* the only thread of the pool */
    await_wait(holder);
    struct fm_fiber *syncer = start(sync_it, &fd);
    await_wait(syncer);
    fm_fiber_interrupt(syncer);
    expect_interruption(finish(syncer), FM_BY_USER);
    cr_assert_eq(fm_close(fd), 0);
    cr_assert(is_open(fd), "the job that is still to come has it");
    do
        writer = open(fifo.path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    while (writer < 0 && fm_yield() == 0);
    cr_assert_eq(finish(holder).kind, FM_SUCCESS);
    int64_t deadline_ns = fm_after_s(10);
    while (is_open(fd) && fm_now_ns() < deadline_ns)
        fm_yield();
    cr_assert_not(is_open(fd));
    close(writer);
    cr_assert_eq(fm_close(fifo.fd), 0);
    remove_folder();
    return fm_ok(NULL);
}

static void with_one_pool_thread(fm_entry_fn *body)
{
    struct fm_runtime_config config = FM_RUNTIME_CONFIG_INIT;
    struct fm_runtime *runtime;
    struct fm_exit exit;
    config.worker_count = 1;
    config.blocking_threads = 1;
    cr_assert_eq(fm_runtime_create(&config, &runtime), 0);
    cr_assert_eq(fm_runtime_run(runtime, body, NULL, &exit), 0);
    cr_assert_eq(exit.kind, FM_SUCCESS);
    fm_runtime_destroy(runtime);
}

TEST(file, number_of_a_file_stays_its_own_until_a_sync_has_done_with_it)
{
    with_one_pool_thread(leave_a_sync);
}

struct writer {
    int fd;
    int64_t deadline_ns;
};

static struct fm_exit write_it(void *arg)
{
    const struct writer *writer = arg;
    char data[8] = "written";
    ssize_t n = fm_write(writer->fd, data, 7, writer->deadline_ns);
    memset(data, '-', sizeof data);
    return n < 0 ? fm_fail((int)n) : fm_ok(number(n));
}

static struct fm_exit leave_a_write(void *arg)
{
    struct opener fifo = { in_folder(0, "fifo"), O_RDONLY, FM_NEVER, -1 };
    struct writer late = { .deadline_ns = 0 }, never = { .deadline_ns = FM_NEVER };
    char got[8] = "";
    int fd, end;
    (void)arg;
    cr_assert_eq(mkfifo(fifo.path, 0600), 0);
    cr_assert_eq(fm_open(in_folder(1, "file"), O_RDWR | O_CREAT, 0600, FM_NEVER, &fd), 0);
    struct fm_fiber *holder = start(open_it, &fifo); /* the only thread of the pool */
    await_wait(holder);
    late.fd = never.fd = fd;
    cr_assert_eq(finish(start(write_it, &late)).code, -ETIMEDOUT, "a deadline that is over");
    late.deadline_ns = fm_after_s(1000);
    struct fm_fiber *fiber = start(write_it, &late);
    await_wait(fiber);
    cr_assert(time_out(fiber));
    cr_assert_eq(finish(fiber).code, -ETIMEDOUT);
    fiber = start(write_it, &never);
    await_wait(fiber);
    fm_fiber_interrupt(fiber);
    expect_interruption(finish(fiber), FM_BY_USER);
    do
        end = open(fifo.path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    while (end < 0 && fm_yield() == 0);
    cr_assert_eq(finish(holder).kind, FM_SUCCESS);
    cr_assert_eq(finish(start(write_it, &never)).value, number(7));
    cr_assert_eq(fm_pread(fd, got, 8, 0, FM_NEVER), 7, "once, by the one who stayed");
    cr_assert_str_eq(got, "written");
    close(end);
    cr_assert_eq(fm_close(fifo.fd), 0);
    cr_assert_eq(fm_close(fd), 0);
    remove_folder();
    return fm_ok(NULL);
}

/* F95 */
TEST(file, write_that_no_thread_has_begun_is_left_and_never_done)
{
    with_one_pool_thread(leave_a_write);
}

/* ---- many, storms, refusals ---- */

enum { BLOCK = 4096, BLOCKS = 32 };

struct blocks {
    int fd;
    int which;
};

static struct fm_exit write_and_read_blocks(void *arg)
{
    struct blocks *blocks = arg;
    char data[BLOCK], got[BLOCK];
    for (int i = blocks->which; i < BLOCKS; i += 4) {
        memset(data, 'a' + i, BLOCK);
        if (fm_pwrite(blocks->fd, data, BLOCK, (off_t)i * BLOCK, FM_NEVER) != BLOCK ||
            fm_pread(blocks->fd, got, BLOCK, (off_t)i * BLOCK, FM_NEVER) != BLOCK ||
            memcmp(data, got, BLOCK) != 0)
            return fm_fail(-EIO);
    }
    return fm_ok(NULL);
}

/* F84, F85 */
CLEAN_TEST_ON(file, many_fibers_share_a_file_in_a_storm_of_signals, 2, FM_CLOCK_REAL)
{
    struct blocks blocks[4];
    struct fm_fiber *fibers[4];
    struct storm storm;
    int fd;
    cr_assert_eq(fm_open(in_folder(0, "file"), O_RDWR | O_CREAT, 0600, FM_NEVER, &fd), 0);
    storm_begin(&storm);
    do {
        for (int i = 0; i < 4; i++) {
            blocks[i] = (struct blocks) { fd, i };
            fibers[i] = start(write_and_read_blocks, &blocks[i]);
        }
        for (int i = 0; i < 4; i++)
            cr_assert_eq(finish(fibers[i]).kind, FM_SUCCESS);
        cr_assert_eq(fm_fsync(fd, FM_NEVER), 0);
    } while (storm_hits() < 100);
    storm_end(&storm);
    cr_assert_eq(fm_close(fd), 0);
    remove_folder();
}

static int use_file(const char *path)
{
    int fd;
    int r = fm_open(path, O_RDWR | O_CREAT, 0600, FM_NEVER, &fd);
    if (r < 0)
        return r;
    ssize_t n = fm_pwrite(fd, "hello", 5, 0, FM_NEVER);
    r = n < 0 ? (int)n : fm_fsync(fd, FM_NEVER);
    cr_assert_eq(fm_close(fd), 0);
    return r;
}

CLEAN_TEST_ON(file, every_refusal_is_a_clean_failure_of_files, 2, FM_CLOCK_REAL)
{
    static const enum fault_kind kinds[] = { FAULT_MALLOC, FAULT_FD, FAULT_THREAD };
    const char *path = in_folder(0, "file");
    cr_assert_eq(use_file(path), 0);
    unsigned before = count_descriptors();
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        for (uint64_t n = 1;; n++) {
            fm__fault_set(kinds[k], n, false);
            int r = use_file(path);
            bool hit = fm__fault_hits(kinds[k]) != 0;
            fm__fault_set(kinds[k], 0, false);
            cr_assert(hit || r == 0, "%s without a refusal", fm_strerror(r));
            cr_assert_eq(count_descriptors(), before, "kind %zu, number %d", k, (int)n);
            if (!hit)
                break;
        }
    }
    remove_folder();
}
