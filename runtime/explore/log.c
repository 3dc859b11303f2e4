/*
 * log.c - what happened in a schedule
 */
#include "runtime/explore/log.h"

#include "runtime/platform/check.h"

/* From where the distances to points are told. */
static const struct turn_point origin = { .what = "" };

void fm__log_begin(struct arbiter_log *log)
{
    log->outcome = OUTCOME_NONE;
    log->steps = log->switches = log->test_begins = log->test_ends = 0;
    log->seat_count = log->choice_count = log->point_count = 0;
    log->trace = UINT64_C(0xCBF29CE484222325);
}

/* The same in each process that runs this program: nothing of where it was loaded. */
static uint64_t identity(const struct turn_point *point)
{
    if (point->function)
        return (uint64_t)((uintptr_t)point - (uintptr_t)&origin);
    uint64_t hash = 1;
    for (const char *c = point->what; *c; c++)
        hash = hash * 31 + (unsigned char)*c;
    return hash;
}

void fm__log_step(struct arbiter_log *log, unsigned seat, const struct turn_point *point,
                  unsigned chosen)
{
    FM_ASSERT(seat < SEATS_MAX && chosen < SEATS_MAX);
    if (log->records && log->steps < log->record_max)
        log->records[log->steps] = (struct step) { point, (uint8_t)seat, (uint8_t)chosen };
    log->steps++;
    log->trace = (log->trace ^ identity(point) ^ seat << 8 ^ chosen) * UINT64_C(0x100000001B3);
    log->trace ^= log->trace >> 29;
}

void fm__log_name(struct arbiter_log *log, unsigned seat, const char *name)
{
    FM_ASSERT(seat < SEATS_MAX && name);
    char *to = log->seats[seat].name;
    for (unsigned i = 0; i < SEAT_NAME_MAX; i++) {
        to[i] = i + 1 < SEAT_NAME_MAX ? *name : 0;
        name += *name != 0;
    }
}

const struct turn_point *fm__log_point(struct arbiter_log *log, const char *what)
{
    FM_ASSERT(what);
    for (uint32_t i = 0; i < log->point_count; i++)
        if (log->points[i].what == what)
            return &log->points[i];
    struct turn_point *point = &log->points[log->point_count];
    if (log->point_count + 1 < POINTS_NAMED_MAX)
        log->point_count++;
    *point = (struct turn_point) { .what = what };
    return point;
}
