/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_compute.c - what remains of a computation's speed when its pieces are fibers?
 *
 *   queens   all places of --queens queens on a board, a fiber for each that is put into one of
 *            the first --depth rows; and the same in one fiber
 *   matrix   a product of two matrices of --size rows in blocks of --block, for_each over the
 *            blocks of the result; and the same, one block at a time
 *
 * Per whole computation. --count is how often it is done.
 */
#include "benchmarks/support/bench.h"

static uint64_t queens_count = 12, forked_rows = 3;
static uint64_t matrix_rows = 512, block_rows = 64;

static void report(const struct bench_run *run, const char *metric, int64_t start)
{
    int64_t end = fm_now_ns();
    bench_record(run, metric, "ms", (double)(end - start) / 1e6 / (double)run->count);
}

/* ---- queens ---- */

struct board {
    uint32_t row, columns, left, right; /* rows that are taken; columns that are attacked */
    uint32_t forked;                    /* so many rows with a fiber for each place */
};

static uint64_t places(struct board board);

static struct fm_exit places_behind(void *arg)
{
    return fm_ok((void *)(uintptr_t)places(*(const struct board *)arg));
}

static uint64_t places(struct board board)
{
    uint32_t all = (1u << queens_count) - 1;
    struct board next[32];
    struct fm_fiber *fibers[32];
    uint64_t sum = 0;
    int children = 0;

    if (board.row == queens_count)
        return 1;
    for (uint32_t free = all & ~(board.columns | board.left | board.right); free;
         free &= free - 1) {
        uint32_t queen = free & -free;
        struct board put = { board.row + 1, board.columns | queen, (board.left | queen) << 1,
                             (board.right | queen) >> 1, board.forked };
        if (board.row >= board.forked) {
            sum += places(put);
            continue;
        }
        next[children] = put;
        fibers[children] = bench_spawn(places_behind, &next[children]);
        children++;
    }
    while (children > 0)
        sum += (uintptr_t)bench_finish(fibers[--children]).value;
    return sum;
}

static void solve(const struct bench_run *run, uint32_t forked, const char *metric)
{
    static const uint64_t solutions[] = { 1, 1, 0, 0, 2, 10, 4, 40, 92, 352, 724, 2680, 14200,
                                          73712, 365596 };
    uint64_t sum = 0;
    int64_t start = fm_now_ns();
    for (uint64_t i = 0; i < run->count; i++)
        sum += places((struct board) { .forked = forked });
    report(run, metric, start);
    BENCH_CHECK(sum == run->count * solutions[queens_count], "%lu places", (unsigned long)sum);
}

static struct fm_exit queens(void *arg)
{
    const struct bench_run *run = arg;
    if (run->workers == 1)
        solve(run, 0, "queens, in one fiber");
    solve(run, (uint32_t)forked_rows, "queens");
    return fm_ok(NULL);
}

/* ---- matrix ---- */

struct product {
    const double *a, *b;
    double *c;
};

static struct fm_exit block_of(void *arg, size_t index)
{
    const struct product *p = arg;
    uint64_t n = matrix_rows, size = block_rows, blocks = n / size;
    uint64_t top = index / blocks * size, left = index % blocks * size;

    for (uint64_t i = top; i < top + size; i++)
        for (uint64_t j = left; j < left + size; j++)
            p->c[i * n + j] = 0;
    for (uint64_t inner = 0; inner < n; inner += size)
        for (uint64_t i = top; i < top + size; i++)
            for (uint64_t k = inner; k < inner + size; k++)
                for (uint64_t j = left; j < left + size; j++)
                    p->c[i * n + j] += p->a[i * n + k] * p->b[k * n + j];
    return fm_ok(NULL);
}

/* at most `bound` blocks at a time; 0: all at once */
static void multiply(const struct bench_run *run, struct product *p, uint64_t bound,
                     const char *metric)
{
    uint64_t blocks = matrix_rows / block_rows;
    int64_t start = fm_now_ns();
    for (uint64_t i = 0; i < run->count; i++) {
        struct fm_exit exit;
        int r = fm_for_each(blocks * blocks, bound, block_of, p, &exit);
        BENCH_CHECK(r == 0 && exit.kind == FM_SUCCESS, "for_each: %s", fm_strerror(r));
    }
    report(run, metric, start);
}

/* small whole numbers, so that every sum is exact */
static double small(uint64_t i, uint64_t j)
{
    return (double)((i * 7 + j * 3) % 10);
}

static struct fm_exit matrix(void *arg)
{
    const struct bench_run *run = arg;
    uint64_t n = matrix_rows;
    double *a = malloc(n * n * sizeof *a), *b = malloc(n * n * sizeof *b);
    struct product p = { a, b, malloc(n * n * sizeof(double)) };
    BENCH_CHECK(a && b && p.c, "no memory");
    BENCH_CHECK(n % block_rows == 0, "--block does not divide --size");
    for (uint64_t i = 0; i < n * n; i++)
        a[i] = small(i / n, i % n), b[i] = small(i % n, i / n);
    if (run->workers == 1)
        multiply(run, &p, 1, "matrix product, one block at a time");
    multiply(run, &p, 0, "matrix product");
    for (uint64_t i = 0; i < n; i += 37)
        for (uint64_t j = 0; j < n; j += 41) {
            double sum = 0;
            for (uint64_t k = 0; k < n; k++)
                sum += a[i * n + k] * b[k * n + j];
            BENCH_CHECK(sum == p.c[i * n + j], "row %lu, column %lu", (unsigned long)i,
                        (unsigned long)j);
        }
    free(a);
    free(b);
    free(p.c);
    return fm_ok(NULL);
}

int main(int argc, char **argv)
{
    static const struct bench_case cases[] = {
        { .name = "queens", .body = queens, .count = 3 },
        { .name = "matrix", .body = matrix, .count = 1 },
    };
    bench_parameter("queens", &queens_count, 1, 14, "queens");
    bench_parameter("depth", &forked_rows, 0, 14, "rows with a fiber for each queen");
    bench_parameter("size", &matrix_rows, 1, 8192, "rows of a matrix");
    bench_parameter("block", &block_rows, 1, 8192, "rows of a block");
    return bench_main(argc, argv, "what remains of a computation's speed in fibers", cases,
                      sizeof cases / sizeof *cases);
}
