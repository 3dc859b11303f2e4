/*
 * snapshot.c - all members at once, copied
 *
 * A stripe is copied under its lock: nobody is run, replaced or detached in it meanwhile. Exits
 * take no lock, so a copy may show a fiber that has ended since; and between two entries a
 * fiber may end that the copy still shows, and then one that it does not show any more. A
 * consistent snapshot forbids that: under all stripe locks and the wait lock it holds every
 * present entry (LIVE to HELD) before it copies. An exit that meets HELD waits for the wait
 * lock. When the last entry is held, all of them are present, and nobody else is: the cut is
 * that instant.
 *
 * No memory is taken under a lock: what is needed is read there, taken outside, and tried
 * again.
 */
#include "fibermap/snapshot.h"

#include <errno.h>
#include <stdlib.h>

#include "fibermap/idle.h"
#include "fibermap/member.h"
#include "runtime/platform/memory.h"

#define SNAPSHOT_FLAGS (FM_SNAPSHOT_CONSISTENT | FM_SNAPSHOT_ZOMBIES | FM_SNAPSHOT_QUEUED)

struct record {
    struct fm_member member; /* key.data is set when all records stand where they stay */
    size_t bytes_at;         /* of a long key: where in bytes */
    uint64_t word[KEY_WORDS];
};

struct fm_snapshot {
    struct record *records;
    unsigned char *bytes;
    size_t count, room;
    size_t byte_count, byte_room;
};

static int make_room(struct fm_snapshot *snap, size_t records, size_t bytes)
{
    FM_ASSERT(snap->count <= snap->room && snap->byte_count <= snap->byte_room);
    if (snap->room - snap->count < records) {
        size_t room = snap->count + records + records / 8 + 8;
        struct record *more = fm__realloc(snap->records, room * sizeof *more);
        if (!more)
            return -ENOMEM;
        snap->records = more;
        snap->room = room;
        FM_ASSERT(snap->room - snap->count >= records);
    }
    if (snap->byte_room - snap->byte_count < bytes) {
        size_t room = snap->byte_count + bytes + bytes / 8;
        unsigned char *more = fm__realloc(snap->bytes, room);
        if (!more)
            return -ENOMEM;
        snap->bytes = more;
        snap->byte_room = room;
    }
    return 0;
}

/*
 * What a stripe may need, its lock held: used entries, and all bytes of long keys, each rounded
 * up to words.
 */
static void need_locked(struct stripe *s, size_t *records, size_t *bytes)
{
    FM_ASSERT(fm__lock_held(&s->lock));
    FM_ASSERT(records && bytes);
    uint32_t used = atomic_load_explicit(&s->used, memory_order_relaxed);
    *records += used;
    *bytes += s->blob_bytes ? s->blob_bytes + 7 * (size_t)used : 0;
}

static bool fits(struct fm_snapshot *snap, size_t records, size_t bytes)
{
    FM_ASSERT(snap->count <= snap->room && snap->byte_count <= snap->byte_room);
    return snap->room - snap->count >= records && snap->byte_room - snap->byte_count >= bytes;
}

static void copy_locked(struct fm_snapshot *snap, struct stripe *s, uint32_t flags)
{
    FM_ASSERT(fm__lock_held(&s->lock));
    uint32_t made = fm__stripe_made(s);
    for (uint32_t i = 0; i < made; i++) {
        struct entry *e = fm__stripe_at(s, i);
        uint64_t state = fm__entry_read(e), id = fm__entry_present(state);
        bool zombie = fm__entry_life(state) == ENTRY_ZOMBIE;
        bool queued = fm__entry_life(state) == ENTRY_QUEUED;
        if (!id && !(zombie && (flags & FM_SNAPSHOT_ZOMBIES)) &&
            !(queued && (flags & FM_SNAPSHOT_QUEUED)))
            continue;
        /* A fiber that has gone has left its entry; one that is held cannot. */
        struct fm_fiber *fiber = fm__fiber_ref_id(state & ENTRY_ID);
        if (!fiber)
            continue;
        FM_ASSERT(snap->count < snap->room);
        struct record *record = &snap->records[snap->count++];
        uint32_t length = fm__entry_key_length(e);
        record->member = (struct fm_member) {
            .key.len = length,
            .fiber = fiber,
            .state = zombie   ? FM_MEMBER_ZOMBIE
                     : queued ? FM_MEMBER_QUEUED
                              : FM_MEMBER_LIVE,
            .age_ns = fm__idle_since_locked(e),
        };
        if (length <= KEY_INLINE) {
            fm__entry_copy_key(e, record->word);
        } else {
            FM_ASSERT(snap->byte_room - snap->byte_count >= length);
            record->bytes_at = snap->byte_count;
            fm__entry_copy_key(e, snap->bytes + snap->byte_count);
            snap->byte_count += length;
        }
    }
}

static int copy_each(struct fm_snapshot *snap, struct fm_map *map, uint32_t flags)
{
    FM_ASSERT(!snap->count);
    int r = 0;

    fm__moves_hold(map); /* else a fiber could be seen twice, or never */
    fm__map_each_stripe(map, s) {
        while (r == 0) {
            size_t records = 0, bytes = 0;
            fm__lock(&s->lock);
            need_locked(s, &records, &bytes);
            if (fits(snap, records, bytes)) {
                copy_locked(snap, s, flags);
                fm__unlock(&s->lock);
                break;
            }
            fm__unlock(&s->lock);
            r = make_room(snap, records, bytes);
        }
    }
    fm__moves_go(map);
    return r;
}

static void hold_all(struct fm_map *map, bool hold)
{
    FM_ASSERT(fm__lock_held(&map->waiting.lock));
    fm__map_each_stripe(map, s) {
        uint32_t made = fm__stripe_made(s);
        for (uint32_t i = 0; i < made; i++) {
            if (hold)
                fm__entry_hold(fm__stripe_at(s, i));
            else
                fm__entry_release(fm__stripe_at(s, i));
        }
    }
}

static int copy_cut(struct fm_snapshot *snap, struct fm_map *map, uint32_t flags)
{
    FM_ASSERT(!snap->count);
    for (;;) {
        size_t records = 0, bytes = 0;
        fm__map_each_stripe(map, s) {
            fm__lock(&s->lock);
            need_locked(s, &records, &bytes);
        }
        bool enough = fits(snap, records, bytes);
        if (enough) {
            fm__lock(&map->waiting.lock);
            hold_all(map, true);
            fm__map_each_stripe(map, s)
                copy_locked(snap, s, flags);
            hold_all(map, false);
            fm__unlock(&map->waiting.lock);
        }
        for (struct stripe *s = map->stripes + map->stripe_mask; s >= map->stripes; s--)
            fm__unlock(&s->lock);
        if (enough)
            return 0;
        int r = make_room(snap, records, bytes);
        if (r < 0)
            return r;
    }
}

int fm_map_snapshot(struct fm_map *map, uint32_t flags, struct fm_snapshot **ret_snapshot)
{
    if (!map || !ret_snapshot || (flags & ~SNAPSHOT_FLAGS))
        return -EINVAL;
    struct fm_snapshot *snap = fm__calloc(1, sizeof *snap);
    if (!snap)
        return -ENOMEM;
    int r = flags & FM_SNAPSHOT_CONSISTENT ? copy_cut(snap, map, flags)
                                           : copy_each(snap, map, flags);
    int64_t now = fm__runtime_now_ns(map->runtime);
    for (size_t i = 0; i < snap->count; i++) {
        struct record *record = &snap->records[i];
        struct fm_member *member = &record->member;
        member->key.data = member->key.len <= KEY_INLINE ? (void *)record->word
                                                         : snap->bytes + record->bytes_at;
        member->age_ns = now > member->age_ns ? now - member->age_ns : 0;
        uint64_t incarnation = fm_fiber_incarnation(member->fiber);
        member->incarnation = incarnation < UINT32_MAX ? (uint32_t)incarnation : UINT32_MAX;
        if (member->state == FM_MEMBER_LIVE)
            member->state = fm__member_state(member->fiber);
    }
    if (r < 0) {
        fm_snapshot_free(snap);
        return r;
    }
    *ret_snapshot = snap;
    return 0;
}

size_t fm_snapshot_count(const struct fm_snapshot *snap)
{
    return snap ? snap->count : 0;
}

const struct fm_member *fm_snapshot_at(const struct fm_snapshot *snap, size_t index)
{
    return snap && index < snap->count ? &snap->records[index].member : NULL;
}

struct fm_snapshot *fm_snapshot_free(struct fm_snapshot *snap)
{
    if (!snap)
        return NULL;
    for (size_t i = 0; i < snap->count; i++)
        fm_fiber_unref(snap->records[i].member.fiber);
    free(snap->records);
    free(snap->bytes);
    free(snap);
    return NULL;
}

int fm__snapshot_members(struct fm_snapshot *snap, uint64_t except,
                         struct fm_member **ret_members, size_t *ret_count)
{
    FM_ASSERT(ret_members && ret_count);
    size_t bytes = 0, count = 0;

    for (size_t i = 0; i < snap->count; i++)
        bytes += snap->records[i].member.key.len;
    struct fm_member *members = fm__malloc(snap->count * sizeof *members + bytes + 1);
    if (!members)
        return -ENOMEM;
    unsigned char *key = (unsigned char *)(members + snap->count);
    for (size_t i = 0; i < snap->count; i++) {
        struct fm_member *member = &members[count];
        *member = snap->records[i].member;
        if (fm__fiber_id(member->fiber) == except)
            continue;
        memcpy(key, member->key.data, member->key.len);
        member->key.data = key;
        key += member->key.len;
        fm_fiber_ref(member->fiber);
        count++;
        FM_ASSERT(count <= snap->count);
    }
    *ret_members = members;
    *ret_count = count;
    return 0;
}

int fm_map_each(struct fm_map *map, fm_each_fn *fn, void *ctx)
{
    struct fm_snapshot *snap;

    if (!map || !fn)
        return -EINVAL;
    int r = fm_map_snapshot(map, 0, &snap);
    if (r < 0)
        return r;
    for (size_t i = 0; r == 0 && i < snap->count; i++)
        r = fn(ctx, snap->records[i].member.key, snap->records[i].member.fiber);
    fm_snapshot_free(snap);
    return r;
}
