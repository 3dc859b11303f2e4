// SPDX-License-Identifier: Apache-2.0

// fibers - the fiber questions, asked of Boost.Fiber on one thread: yield, spawn and join, ping-pong
//
// Its default scheduler (round robin) and stacks (pooled, not guarded, so that the comparison is in its
// favour). Each runs twice and the second counts; prints JSON lines as the benchmarks do.
#include <boost/fiber/all.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <vector>

namespace fibers = boost::fibers;
using clock_type = std::chrono::steady_clock;

static fibers::pooled_fixedsize_stack stacks(64 * 1024);

template <class Body> static fibers::fiber spawn(Body body)
{
    return fibers::fiber(fibers::launch::post, std::allocator_arg, stacks, std::move(body));
}

static bool counted;

static void report(const char *metric, clock_type::time_point start, long count)
{
    if (!counted)
        return;
    double ns = std::chrono::duration<double, std::nano>(clock_type::now() - start).count();
    std::printf("{\"who\":\"boost.fiber\",\"metric\":\"%s\",\"workers\":1,\"unit\":\"ns\","
                "\"median\":%.6g}\n",
                metric, ns / static_cast<double>(count));
}

static void check(bool ok, const char *what)
{
    if (!ok) {
        std::fprintf(stderr, "fibers: %s\n", what);
        std::exit(1);
    }
}

static void yield()
{
    const long count = 4000000;
    auto body = [&] {
        for (long i = 0; i < count / 2; i++)
            boost::this_fiber::yield();
    };
    auto start = clock_type::now();
    auto a = spawn(body), b = spawn(body);
    a.join();
    b.join();
    report("yield", start, count);
}

static void spawn_join()
{
    const long count = 300000;
    long sum = 0;
    auto start = clock_type::now();
    for (long i = 0; i < count; i++)
        spawn([&] { sum++; }).join();
    check(sum == count, "a fiber is missing");
    report("spawn+join, one at a time", start, count);
}

static void spawn_batch()
{
    const long count = 500000, batch = 1000;
    long sum = 0;
    std::vector<fibers::fiber> all;
    all.reserve(batch);
    auto start = clock_type::now();
    for (long i = 0; i < count / batch; i++) {
        for (long j = 0; j < batch; j++)
            all.push_back(spawn([&] { sum++; }));
        for (auto &fiber : all)
            fiber.join();
        all.clear();
    }
    check(sum == count, "a fiber is missing");
    report("spawn 1000, join all", start, count);
}

static void ping_pong()
{
    const long count = 300000;
    fibers::mutex mutex;
    fibers::condition_variable turn_of[2];
    int turn = 0;
    long played = 0;
    auto play = [&](int me) {
        std::unique_lock<fibers::mutex> lock(mutex);
        for (long i = 0; i < count; i++) {
            turn_of[me].wait(lock, [&] { return turn == me; });
            played++;
            turn = !me;
            turn_of[!me].notify_one();
        }
    };
    auto start = clock_type::now();
    auto other = spawn([&] { play(1); });
    play(0);
    other.join();
    check(played == 2 * count, "a turn is missing");
    report("ping-pong, condition", start, count);
}

int main()
{
    for (int i = 0; i < 2; i++) {
        counted = i == 1;
        yield();
        spawn_join();
        spawn_batch();
        ping_pong();
    }
}
