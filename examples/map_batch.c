#include <errno.h>
#include <fm/fm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "virtual.h"

#define SECOND INT64_C(1000000000)

static struct fm_exit download(void *arg)
{
    (void)arg;
    return fm_fail(fm_never());
}

static int by_key(const void *a, const void *b)
{
    const struct fm_member *x = *(const struct fm_member *const *)a;
    const struct fm_member *y = *(const struct fm_member *const *)b;
    return memcmp(x->key.data, y->key.data, x->key.len < y->key.len ? x->key.len : y->key.len);
}

/* A snapshot is a copy with references: what happens to the map meanwhile does not matter. */
static int list(struct fm_map *map)
{
    const struct fm_member *members[16];
    struct fm_snapshot *snapshot;
    int r = fm_map_snapshot(map, FM_SNAPSHOT_CONSISTENT, &snapshot);
    if (r < 0)
        return r;
    size_t count = fm_snapshot_count(snapshot);
    if (count > 16)
        count = 16;
    for (size_t i = 0; i < count; i++)
        members[i] = fm_snapshot_at(snapshot, i);
    qsort(members, count, sizeof *members, by_key); /* it comes in no order */
    for (size_t i = 0; i < count; i++)
        printf("%.*s: for %d s\n", (int)members[i]->key.len, (const char *)members[i]->key.data,
               (int)(members[i]->age_ns / SECOND));
    fm_snapshot_free(snapshot);
    return (int)count;
}

static bool is_picture(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    (void)ctx, (void)fiber;
    return key.len > 4 && memcmp((const char *)key.data + key.len - 4, ".jpg", 4) == 0;
}

/* The function may call anything, this map too. */
static int count_name_bytes(void *ctx, struct fm_key key, struct fm_fiber *fiber)
{
    size_t *bytes = ctx;
    (void)fiber;
    *bytes += key.len;
    return 0; /* anything else ends the walk */
}

static struct fm_exit program(void *arg)
{
    static const char *const names[] = { "a.txt", "b.jpg", "c.txt", "d.jpg", "e.txt" };
    struct fm_map *map;
    size_t bytes = 0;

    int r = fm_map_create_scoped(NULL, &map);
    for (int i = 0; i < 5 && r == 0; i++) {
        r = fm_map_run(map, fm_key_str(names[i]), download, NULL, NULL, NULL);
        if (r == 0)
            r = fm_sleep_ms(1000);
    }
    if (r < 0)
        return fm_fail(r);
    bool right = list(map) == 5;
    right = fm_map_each(map, count_name_bytes, &bytes) == 0 && bytes == 25 && right;

    /* All are signalled before the first is awaited: they end side by side. */
    r = fm_map_clear_matching(map, is_picture, NULL, FM_NEVER);
    printf("without pictures: %zu\n", fm_map_size(map));
    right = r == 0 && fm_map_size(map) == 3 && right;

    struct fm_key some[] = { fm_key_str("a.txt"), fm_key_str("c.txt"), fm_key_str("b.jpg") };
    r = fm_map_remove_many(map, some, 3, FM_NEVER); /* who is not there is passed over */
    printf("without some: %zu\n", fm_map_size(map));
    right = r == 0 && fm_map_size(map) == 1 && right;

    r = fm_map_clear(map, FM_NEVER);
    printf("cleared: %zu\n", fm_map_size(map));
    return right && r == 0 && fm_map_size(map) == 0 ? fm_ok(arg) : fm_fail(-EPROTO);
}

int main(void)
{
    return run_virtually(program, 0);
}
