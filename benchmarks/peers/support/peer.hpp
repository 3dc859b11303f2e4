// SPDX-License-Identifier: Apache-2.0

// peer.hpp - what the C++ peers share: the command line, the figures, the check
//
// PEER QUESTION [--workers N] [--only CASE] [--count N] [--NAME N]...; each case runs twice
// and the second time is printed as a JSON line.
#ifndef PEER_HPP
#define PEER_HPP

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace peer {

using clock_type = std::chrono::steady_clock;

struct work {
    const char *question, *name;
    long count; // operations, unless --count is given
    void (*body)(long count);
};

inline const char *who;
inline bool printing;
inline std::map<std::string, std::string> words; // --NAME VALUE

inline void check(bool ok, const std::string &what)
{
    if (!ok) {
        std::fprintf(stderr, "peer: %s\n", what.c_str());
        std::exit(1);
    }
}

inline long number(const char *name, long otherwise)
{
    auto found = words.find(name);
    return found == words.end() ? otherwise : std::atol(found->second.c_str());
}

inline unsigned workers()
{
    return static_cast<unsigned>(number("workers", 1));
}

inline void report(const char *metric, const char *unit, double value)
{
    if (printing)
        std::printf("{\"who\":\"%s\",\"metric\":\"%s\",\"workers\":%u,\"unit\":\"%s\","
                    "\"median\":%.6g}\n",
                    who, metric, workers(), unit, value);
}

inline double ns_since(clock_type::time_point start)
{
    return std::chrono::duration<double, std::nano>(clock_type::now() - start).count();
}

// The time since start, by operation.
inline void per_op(const char *metric, clock_type::time_point start, long count)
{
    report(metric, "ns", ns_since(start) / static_cast<double>(count));
}

// The n-th Fibonacci number, as `fib_of` forks for it.
inline void fib(long n, long (*fib_of)(long))
{
    long a = 0, b = 1;
    for (long i = 0; i < n; i++) {
        long next = a + b;
        a = b;
        b = next;
    }
    auto start = clock_type::now();
    long result = fib_of(n);
    per_op("fib, per fork", start, b - 1);
    check(result == a, "another number");
}

// Ask the question: `run` is given the cases to do, one by one, in the right surroundings.
template <class Run>
int main(int argc, char **argv, const char *name, const std::string &version,
         const std::vector<work> &works, Run run)
{
    check(argc > 1, "QUESTION [--workers N] [--only CASE] [--count N]...");
    if (std::strcmp(argv[1], "--version") == 0) {
        std::puts(version.c_str());
        return 0;
    }
    who = name;
    for (int i = 2; i + 1 < argc; i += 2)
        words[argv[i] + std::strspn(argv[i], "-")] = argv[i + 1];
    bool known = false;
    run([&] {
        for (const work &each : works) {
            known |= std::strcmp(each.question, argv[1]) == 0;
            if (std::strcmp(each.question, argv[1]) != 0 ||
                (words.count("only") && words["only"] != each.name))
                continue;
            for (int turn = 0; turn < 2; turn++) {
                printing = turn == 1;
                each.body(number("count", each.count));
            }
        }
    });
    check(known, std::string("no question ") + argv[1]);
    return 0;
}

} // namespace peer

#endif
