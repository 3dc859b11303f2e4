// SPDX-License-Identifier: Apache-2.0

// fibers - the fiber questions, asked of Boost.Fiber
//
// One worker: its default scheduler (round robin) and pooled stacks without a guard, so that
// the comparison is in its favour. More: its work_stealing scheduler in as many threads, and
// stacks from malloc, since a pool belongs to one thread.
#include "support/peer.hpp"

#include <boost/fiber/all.hpp>
#include <boost/version.hpp>

#include <atomic>
#include <memory>
#include <mutex>
#include <thread>

namespace fibers = boost::fibers;
using peer::check;
using peer::clock_type;

static fibers::pooled_fixedsize_stack pool(64 * 1024);

template <class Body> static fibers::fiber spawn(Body body)
{
    if (peer::workers() > 1)
        return fibers::fiber(fibers::launch::post, std::allocator_arg,
                             fibers::fixedsize_stack(64 * 1024), std::move(body));
    return fibers::fiber(fibers::launch::post, std::allocator_arg, pool, std::move(body));
}

static void yield(long count)
{
    long each = count / (2 * peer::workers());
    auto body = [=] {
        for (long i = 0; i < each; i++)
            boost::this_fiber::yield();
    };
    std::vector<fibers::fiber> all;
    auto start = clock_type::now();
    for (unsigned i = 0; i < 2 * peer::workers(); i++)
        all.push_back(spawn(body));
    for (auto &fiber : all)
        fiber.join();
    peer::report("yield", "ns",
                 peer::ns_since(start) * peer::workers() /
                     static_cast<double>(each * 2 * peer::workers()));
}

static void spawn_one(long count)
{
    std::atomic<long> sum = 0;
    auto start = clock_type::now();
    for (long i = 0; i < count; i++)
        spawn([&] { sum.fetch_add(1, std::memory_order_relaxed); }).join();
    peer::per_op("spawn+join, one at a time", start, count);
    check(sum == count, "a fiber is missing");
}

static void spawn_batch(long count)
{
    const long batch = peer::number("batch", 1000);
    std::atomic<long> sum = 0;
    std::vector<fibers::fiber> all;
    auto start = clock_type::now();
    for (long i = 0; i < count / batch; i++) {
        for (long j = 0; j < batch; j++)
            all.push_back(spawn([&] { sum.fetch_add(1, std::memory_order_relaxed); }));
        for (auto &fiber : all)
            fiber.join();
        all.clear();
    }
    peer::per_op("spawn 1000, join all", start, count / batch * batch);
    check(sum == count / batch * batch, "a fiber is missing");
}

static long fib_of(long n)
{
    if (n < 2)
        return n;
    long other = 0;
    fibers::fiber child = spawn([&other, n] { other = fib_of(n - 1); });
    long own = fib_of(n - 2);
    child.join();
    return own + other;
}

static void ping_pong(long count)
{
    if (peer::workers() > 1)
        return; // nothing keeps the two in threads of their own
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
    peer::per_op("ping-pong, condition", start, count);
    check(played == 2 * count, "a turn is missing");
}

static void channel(long count)
{
    fibers::unbuffered_channel<long> values;
    long sum = 0;
    auto start = clock_type::now();
    auto consumer = spawn([&] {
        for (long value : values)
            sum += value;
    });
    auto producer = spawn([&] {
        for (long i = 1; i <= count; i++)
            values.push(i);
        values.close();
    });
    producer.join();
    consumer.join();
    peer::per_op("channel, one to one", start, count);
    check(sum == count * (count + 1) / 2, "a value is missing");
}

// Everything runs in a fiber of the first thread; the others join the scheduler until it is
// over.
template <class Body> static void with_workers(Body body)
{
    const unsigned count = peer::workers();
    if (count == 1)
        return body();
    fibers::mutex mutex;
    fibers::condition_variable_any over;
    bool is_over = false;
    std::vector<std::thread> threads;
    for (unsigned i = 1; i < count; i++)
        threads.emplace_back([&] {
            fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(count);
            std::unique_lock<fibers::mutex> lock(mutex);
            over.wait(lock, [&] { return is_over; });
        });
    fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(count);
    body();
    {
        std::unique_lock<fibers::mutex> lock(mutex);
        is_over = true;
        over.notify_all();
    }
    for (auto &thread : threads)
        thread.join();
}

int main(int argc, char **argv)
{
    return peer::main(argc, argv, "boost.fiber", "Boost.Fiber " BOOST_LIB_VERSION,
                      {
                          { "yield", "yield", 4000000, yield },
                          { "spawn_join", "one", 300000, spawn_one },
                          { "spawn_join", "batch", 500000, spawn_batch },
                          { "fib", "later", 20, [](long n) { peer::fib(n, fib_of); } },
                          { "pingpong", "cond", 300000, ping_pong },
                          { "channel", "producer_consumer", 1000000, channel },
                      },
                      [](auto body) { with_workers(body); });
}
