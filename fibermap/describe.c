/*
 * describe.c - the key of a fiber, for dumps and crash reports
 *
 * A dump reads an entry while its fiber may end and its map be freed. So it says that it reads,
 * before it looks at the descriptor; and who frees a map, all of whose fibers have taken their
 * entries out of their descriptors, waits until nobody reads.
 *
 *   dump                                        destroy
 *     readers += 1        (K)                     (each exit: the descriptor's entry = NULL)
 *     entry = the descriptor's                    readers += 0     (L)
 *     NULL: none; else read the key               not 0: wait a moment, again
 *     readers -= 1        (M)                     free
 * K after L reads from it and sees NULL. K before L makes L see a reader, until M, whose
 * release L acquires.
 *
 * Async-signal-safe: a fiber that overflows its stack is described in the handler.
 */
#include "fibermap/describe.h"

#include "fibermap/stripe.h"
#include "runtime/platform/check.h"
#include "runtime/platform/spin.h"

static _Atomic uint32_t readers;

static bool is_plain(unsigned char c)
{
    return c >= ' ' && c <= '~' && c != '"' && c != '\\';
}

void fm__key_print(char *buffer, size_t size, const unsigned char *key, size_t length)
{
    FM_ASSERT(buffer && size && key);
    static const char hex[] = "0123456789abcdef";
    size_t at = 0, whole = 0;

    for (size_t i = 0; i < length; i++)
        whole += is_plain(key[i]) ? 1 : 4;
    size_t end = whole < size ? whole : size < 4 ? 0 : size - 4; /* where the dots begin */
    for (size_t i = 0; i < length && at + (is_plain(key[i]) ? 1 : 4) <= end; i++) {
        if (is_plain(key[i])) {
            buffer[at++] = (char)key[i];
            continue;
        }
        buffer[at++] = '\\';
        buffer[at++] = 'x';
        buffer[at++] = hex[key[i] >> 4];
        buffer[at++] = hex[key[i] & 15];
    }
    for (int dots = 0; whole >= size && dots < 3 && at + 1 < size; dots++)
        buffer[at++] = '.';
    FM_ASSERT(at < size);
    buffer[at] = '\0';
}

static void describe(struct fm_fiber *fiber, char *buffer, size_t size)
{
    FM_ASSERT(fiber && buffer);
    enum { SHOWN = 64 }; /* bytes of a long key */
    unsigned char key[SHOWN];

    FM_ASSERT(size >= 8);
    buffer[0] = '\0';
    /* acq_rel (K) */
    atomic_fetch_add_explicit(&readers, 1, memory_order_acq_rel);
    struct entry *entry = fm__described_entry(fiber);
    if (entry) {
        entry = fm__entry_now(entry);
        uint32_t length = fm__entry_key_length(entry), words = fm__key_words(length);
        uint32_t shown = length < SHOWN ? length : SHOWN;
        /* the last word of a key, which overlaps, is not among the first of a longer one */
        for (uint32_t i = 0; i < words && 8 * i < SHOWN; i++)
            fm__put_word(key, length, i, fm__entry_key_word(entry, length, i));
        buffer[0] = '"';
        /* a key longer than what was read ends in dots */
        fm__key_print(buffer + 1, size - 5, key, shown);
        strcat(buffer, length > shown ? "...\"" : "\"");
    }
    /* release (M) */
    atomic_fetch_sub_explicit(&readers, 1, memory_order_release);
}

void fm__describe_start(void)
{
    fm__fiber_set_key_describe(describe);
}

void fm__describe_wait(void)
{
    /* acq_rel (L) */
    for (unsigned spins = 0; atomic_fetch_add_explicit(&readers, 0, memory_order_acq_rel) != 0;
         spins++)
        fm__spin(spins);
}
