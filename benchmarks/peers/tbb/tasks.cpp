// SPDX-License-Identifier: Apache-2.0

// tasks - the questions that need no wait but a join, asked of oneTBB
//
// Its tasks run on the stack of whoever joins, and cannot wait for anything else.
#include "support/peer.hpp"

#include <oneapi/tbb/global_control.h>
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

static void fib(long n)
{
    long a = 0, b = 1;
    for (long i = 0; i < n; i++) {
        long next = a + b;
        a = b;
        b = next;
    }
    auto start = clock_type::now();
    long result = fib_of(n);
    peer::per_op("fib, per fork", start, b - 1);
    check(result == a, "another number");
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

int main(int argc, char **argv)
{
    return peer::main(argc, argv, "tbb", std::string("oneTBB ") + TBB_runtime_version(),
                      {
                          { "spawn_join", "one", 300000, spawn_one },
                          { "spawn_join", "batch", 500000, spawn_batch },
                          { "fib", "later", 25, fib },
                          { "skynet", "later", 1000000, skynet },
                      },
                      [](auto body) {
                          using control = oneapi::tbb::global_control;
                          control threads(control::max_allowed_parallelism, peer::workers());
                          oneapi::tbb::task_arena arena(static_cast<int>(peer::workers()));
                          arena.execute(body);
                      });
}
