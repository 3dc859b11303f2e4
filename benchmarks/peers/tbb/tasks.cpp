// SPDX-License-Identifier: Apache-2.0

// tasks - the questions that need no wait but a join, asked of oneTBB
//
// Its tasks run on the stack of whoever joins, and cannot wait for anything else.
#include "support/peer.hpp"

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>
#include <oneapi/tbb/version.h>

#include <atomic>

using oneapi::tbb::task_group;
using peer::check;
using peer::clock_type;

static void spawn_one(long count)
{
    std::atomic<long> sum = 0;
    task_group group;
    auto start = clock_type::now();
    for (long i = 0; i < count; i++) {
        group.run([&] { sum.fetch_add(1, std::memory_order_relaxed); });
        group.wait();
    }
    peer::per_op("spawn+join, one at a time", start, count);
    check(sum == count, "a task is missing");
}

static void spawn_batch(long count)
{
    const long batch = peer::number("batch", 1000);
    std::atomic<long> sum = 0;
    auto start = clock_type::now();
    for (long i = 0; i < count / batch; i++) {
        task_group group;
        for (long j = 0; j < batch; j++)
            group.run([&] { sum.fetch_add(1, std::memory_order_relaxed); });
        group.wait();
    }
    peer::per_op("spawn 1000, join all", start, count / batch * batch);
    check(sum == count / batch * batch, "a task is missing");
}

static long fib_of(long n)
{
    if (n < 2)
        return n;
    long other = 0;
    task_group group;
    group.run([&other, n] { other = fib_of(n - 1); });
    long own = fib_of(n - 2);
    group.wait();
    return own + other;
}

static long grow(long first, long leaves)
{
    enum { children = 10 };
    if (leaves == 1)
        return first;
    long sums[children], sum = 0;
    task_group group;
    for (long i = 0; i < children; i++)
        group.run([&sums, first, leaves, i] {
            sums[i] = grow(first + i * (leaves / children), leaves / children);
        });
    group.wait();
    for (long each : sums)
        sum += each;
    return sum;
}

static void skynet(long leaves)
{
    auto start = clock_type::now();
    long sum = grow(0, leaves);
    peer::report("skynet", "ms", peer::ns_since(start) / 1e6);
    check(sum == leaves * (leaves - 1) / 2, "another sum");
}

// ---- computations in pieces ----

struct board {
    unsigned row, columns, left, right, forked;
};

static unsigned queens;

static long places(board b)
{
    if (b.row == queens)
        return 1;
    long sum = 0, sums[32] = {};
    int children = 0;
    unsigned all = (1u << queens) - 1;
    auto put = [&](unsigned queen) {
        return board{ b.row + 1, b.columns | queen, (b.left | queen) << 1,
                      (b.right | queen) >> 1, b.forked };
    };
    unsigned free = all & ~(b.columns | b.left | b.right);
    if (b.row >= b.forked) {
        for (; free; free &= free - 1)
            sum += places(put(free & -free));
        return sum;
    }
    task_group group;
    for (; free; free &= free - 1)
        group.run([&sum = sums[children++], next = put(free & -free)] { sum = places(next); });
    group.wait();
    for (long each : sums)
        sum += each;
    return sum;
}

static void solve(long count, unsigned forked, const char *metric)
{
    static const long solutions[] = { 1,  1,   0,   0,   2,    10,    4,    40,
                                      92, 352, 724, 2680, 14200, 73712, 365596 };
    long sum = 0;
    auto start = clock_type::now();
    for (long i = 0; i < count; i++)
        sum += places({ 0, 0, 0, 0, forked });
    peer::report(metric, "ms", peer::ns_since(start) / 1e6 / static_cast<double>(count));
    check(sum == count * solutions[queens], "places");
}

static void queens_on_board(long count)
{
    queens = static_cast<unsigned>(peer::number("queens", 12));
    if (peer::workers() == 1)
        solve(count, 0, "queens, in one fiber");
    solve(count, static_cast<unsigned>(peer::number("depth", 3)), "queens");
}

struct product {
    long n, size;
    std::vector<double> a, b, c;

    void block(long index)
    {
        long blocks = n / size, top = index / blocks * size, left = index % blocks * size;
        for (long i = top; i < top + size; i++)
            for (long j = left; j < left + size; j++)
                c[i * n + j] = 0;
        for (long inner = 0; inner < n; inner += size)
            for (long i = top; i < top + size; i++)
                for (long k = inner; k < inner + size; k++)
                    for (long j = left; j < left + size; j++)
                        c[i * n + j] += a[i * n + k] * b[k * n + j];
    }
};

static void matrix(long count)
{
    long n = peer::number("size", 512), size = peer::number("block", 64);
    check(n % size == 0, "--block does not divide --size");
    product p = { n, size, std::vector<double>(n * n), std::vector<double>(n * n),
                  std::vector<double>(n * n) };
    auto small = [](long i, long j) { return static_cast<double>((i * 7 + j * 3) % 10); };
    for (long i = 0; i < n * n; i++) {
        p.a[i] = small(i / n, i % n);
        p.b[i] = small(i % n, i / n);
    }
    auto start = clock_type::now();
    for (long i = 0; i < count; i++)
        oneapi::tbb::parallel_for(0l, (n / size) * (n / size), [&](long b) { p.block(b); });
    peer::report("matrix product", "ms",
                 peer::ns_since(start) / 1e6 / static_cast<double>(count));
    for (long i = 0; i < n; i += 37)
        for (long j = 0; j < n; j += 41) {
            double sum = 0;
            for (long k = 0; k < n; k++)
                sum += p.a[i * n + k] * p.b[k * n + j];
            check(sum == p.c[i * n + j], "another product");
        }
}

int main(int argc, char **argv)
{
    return peer::main(argc, argv, "tbb", std::string("oneTBB ") + TBB_runtime_version(),
                      {
                          { "spawn_join", "one", 300000, spawn_one },
                          { "spawn_join", "batch", 500000, spawn_batch },
                          { "fib", "later", 25, [](long n) { peer::fib(n, fib_of); } },
                          { "skynet", "later", 1000000, skynet },
                          { "compute", "queens", 3, queens_on_board },
                          { "compute", "matrix", 1, matrix },
                      },
                      [](auto body) {
                          using control = oneapi::tbb::global_control;
                          control threads(control::max_allowed_parallelism, peer::workers());
                          oneapi::tbb::task_arena arena(static_cast<int>(peer::workers()));
                          arena.execute(body);
                      });
}
