/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress_map_lookup.c - lookups without a lock, while one stripe is used, swept and grown
 *
 * One writer at a time puts fibers (numbers here) under keys; an exiting thread ends them; two readers look. Held at every look (F49, X20):
 *   - a stable key is found, with its fiber
 *   - a replaced key is always held, by a fiber not older than the last one seen: never none (X1)
 *   - a one-shot key is found with its own fiber or not at all; once its exit is over, not at all
 * Rounds are short and start from an empty stripe, so that each sees growth from the first bucket on and sweeps of few entries.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "fibermap/stripe.h"
#include "runtime/platform/spin.h"
#include "tests/support/stress.h"

enum { STABLE = 6, ONE_SHOTS = 300, READERS = 2, RING = 512 };

static const struct hash_seed seed_of_hash = { .kind = HASH_SIP, .k0 = 3, .k1 = 5 };
static struct stripe stripe;
static pthread_barrier_t gate;
static _Atomic uint64_t installed;         /* one-shot keys that are in: 1 .. installed */
static _Atomic uint64_t ended;             /* of these: 1 .. ended are over */
static _Atomic(struct entry *) ring[RING]; /* from the writer to the exits */
static _Atomic uint64_t ring_put;
static _Atomic bool writer_done;
static uint64_t rounds;

struct ending {
    uint64_t id, one_shot; /* one_shot 0: a replaced one */
};
static struct ending endings[RING];

static struct map_key key_of(char *buffer, char kind, uint64_t n)
{
    struct map_key key;
    /* every fifth key is long, so that blobs go round */
    size_t length = n % 5 ? 16 : 80;
    memset(buffer, kind, length);
    memcpy(buffer, &n, sizeof n);
    fm__key_read(&key, &seed_of_hash, fm_key_bytes(buffer, length));
    return key;
}

static struct entry *put(const struct map_key *key, uint64_t id, struct entry **ret_old,
                         uint64_t *ret_displaced)
{
    int r = fm__stripe_lock_with_room(&stripe, key);
    STRESS_CHECK(r == 0, "no room");
    struct place place = fm__stripe_find_locked(&stripe, key);
    struct entry *entry = fm__stripe_take_locked(&stripe, key);
    fm__entry_publish(entry, id);
    *ret_old = place.entry;
    *ret_displaced = fm__stripe_install_locked(&stripe, place, entry);
    atomic_fetch_add(&stripe.count, COUNT_MEMBER_ONE + (*ret_displaced ? 0 : COUNT_LIVE_ONE));
    fm__unlock(&stripe.lock);
    return entry;
}

static void hand_to_exits(struct entry *entry, uint64_t id, uint64_t one_shot)
{
    uint64_t at = atomic_load_explicit(&ring_put, memory_order_relaxed);
    for (unsigned spins = 0; atomic_load_explicit(&ring[at % RING], memory_order_acquire);
         spins++)
        fm__spin(spins);
    endings[at % RING] = (struct ending) { id, one_shot };
    atomic_store_explicit(&ring[at % RING], entry, memory_order_release);
    atomic_store_explicit(&ring_put, at + 1, memory_order_release);
}

static void write_round(uint64_t *random)
{
    char text[80];
    uint64_t id = 1000, displaced;
    struct entry *old, *replaced = NULL;

    for (uint64_t n = 1; n <= ONE_SHOTS; n++) {
        struct map_key key = key_of(text, 'o', n);
        struct entry *entry = put(&key, n, &old, &displaced);
        STRESS_CHECK(!displaced, "a fresh key was held");
        atomic_store_explicit(&installed, n, memory_order_release);
        hand_to_exits(entry, n, n);
        key = key_of(text, 'r', 0);
        struct entry *next = put(&key, ++id, &old, &displaced);
        STRESS_CHECK(displaced == id - 1, "displaced %" PRIu64 " by %" PRIu64, displaced, id);
        if (replaced)
            hand_to_exits(replaced, id - 1, 0);
        replaced = next;
        if (n == 1)
            hand_to_exits(old, id - 1, 0);
        if (n % 16 == 0)
            stress_jitter(random);
    }
    atomic_store(&writer_done, true);
}

static void *exits(void *arg)
{
    uint64_t random = stress_seed() ^ 77;
    for (uint64_t round = 0; round < rounds; round++) {
        pthread_barrier_wait(&gate);
        for (uint64_t at = 0;;) {
            struct entry *entry = atomic_load_explicit(&ring[at % RING], memory_order_acquire);
            if (!entry || at == atomic_load_explicit(&ring_put, memory_order_acquire)) {
                if (atomic_load(&writer_done) && at == atomic_load(&ring_put))
                    break;
                fm__spin(9);
                continue;
            }
            struct ending ending = endings[at % RING];
            atomic_store_explicit(&ring[at % RING], NULL, memory_order_release);
            at++;
            enum entry_end end = fm__entry_end(entry, ending.id);
            STRESS_CHECK(end == (ending.one_shot ? ENTRY_END_PRESENT : ENTRY_END_ZOMBIE), "%d",
                         (int)end);
            fm__stripe_bury(&stripe, entry);
            atomic_fetch_sub(&stripe.count,
                             COUNT_MEMBER_ONE + (ending.one_shot ? COUNT_LIVE_ONE : 0));
            if (ending.one_shot)
                atomic_store_explicit(&ended, ending.one_shot, memory_order_release);
            if (at % 16 == 0)
                stress_jitter(&random);
        }
        pthread_barrier_wait(&gate);
    }
    return NULL;
}

static void *reader(void *arg)
{
    uint64_t random = stress_seed() + (uintptr_t)arg;
    char text[80];

    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t last = 0;
        pthread_barrier_wait(&gate);
        while (!atomic_load_explicit(&writer_done, memory_order_relaxed)) {
            uint64_t n = stress_random(&random) % STABLE;
            struct map_key key = key_of(text, 's', n);
            uint64_t found = fm__stripe_find(&stripe, &key);
            STRESS_CHECK(found == 1 + n,
                         "round %" PRIu64 ": stable key %" PRIu64 " has %" PRIu64, round, n,
                         found);

            key = key_of(text, 'r', 0);
            found = fm__stripe_find(&stripe, &key);
            STRESS_CHECK(found >= 1000 && found >= last,
                         "round %" PRIu64 ": replaced key has %" PRIu64 " after %" PRIu64,
                         round, found, last);
            last = found;

            /* a recent one-shot key: what was over before the look is not found, what is found is its own */
            uint64_t in = atomic_load_explicit(&installed, memory_order_acquire);
            uint64_t over = atomic_load_explicit(&ended, memory_order_acquire);
            n = in - stress_random(&random) % (in < 8 ? in + 1 : 8);
            if (!n)
                continue;
            key = key_of(text, 'o', n);
            found = fm__stripe_find(&stripe, &key);
            STRESS_CHECK(found == 0 || found == n,
                         "round %" PRIu64 ": key %" PRIu64 " has %" PRIu64, round, n, found);
            STRESS_CHECK(n > over || found == 0,
                         "round %" PRIu64 ": key %" PRIu64 " is over and has %" PRIu64, round,
                         n, found);
            if (found == 0) /* it was in, so its exit has begun */
                continue;
        }
        pthread_barrier_wait(&gate);
    }
    return NULL;
}

int main(void)
{
    uint64_t random = stress_seed();
    pthread_t threads[READERS + 1];
    char text[80];

    rounds = stress_rounds(400);
    pthread_barrier_init(&gate, NULL, READERS + 2);
    for (uintptr_t i = 0; i <= READERS; i++)
        pthread_create(&threads[i], NULL, i < READERS ? reader : exits, (void *)i);
    for (uint64_t round = 0; round < rounds; round++) {
        struct entry *old;
        uint64_t displaced;
        fm__stripe_init(&stripe, NULL, NULL);
        atomic_store(&installed, 0);
        atomic_store(&ended, 0);
        atomic_store(&ring_put, 0);
        atomic_store(&writer_done, false);
        for (uint64_t n = 0; n < STABLE; n++) {
            struct map_key key = key_of(text, 's', n);
            put(&key, 1 + n, &old, &displaced);
        }
        struct map_key key = key_of(text, 'r', 0);
        put(&key, 1000, &old, &displaced);
        pthread_barrier_wait(&gate);
        write_round(&random);
        pthread_barrier_wait(&gate);
        fm__stripe_fini(&stripe);
    }
    for (int i = 0; i <= READERS; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
