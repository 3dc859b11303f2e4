/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rates.c - so many starts in a time, for jobs that share a name, or for all
 */
#include "tools/batcher/rates.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/batcher/batch.h"
#include "tools/batcher/duration.h"

enum { BURST_MAX = 1000000 };

/* ---- what was asked for ---- */

static unsigned find(const struct rates *rates, const char *name, size_t len)
{
    unsigned i = 0;
    while (i < rates->count &&
           (rates->each[i].name_len != len || memcmp(rates->each[i].name, name, len)))
        i++;
    return i;
}

static int add(struct rates *rates, struct rate rate)
{
    if (rate.between < 1 || rate.between > INT64_MAX / rate.burst)
        return -EINVAL;
    if (find(rates, rate.name, rate.name_len) < rates->count)
        return -EEXIST;
    if (rates->count == RATES_MAX)
        return -ENOSPC;
    rates->each[rates->count++] = rate;
    return 0;
}

/* "n[/time][:burst]" */
static int read_figures(const char *text, struct rate *rate)
{
    char time[32] = "1";
    char *end;
    int64_t time_ns = 0;
    if (text[0] < '0' || text[0] > '9')
        return -EINVAL;
    double n = strtod(text, &end);
    if (!(n > 0) || n > 1e9)
        return -EINVAL;
    if (*end == '/') {
        size_t len = strcspn(++end, ":");
        if (len >= sizeof time)
            return -EINVAL;
        memcpy(time, end, len);
        time[len] = '\0';
        end += len;
    }
    rate->burst = 1;
    if (*end == ':' && end[1] >= '0' && end[1] <= '9')
        rate->burst = strtol(end + 1, &end, 10);
    if (*end || rate->burst < 1 || rate->burst > BURST_MAX || duration_read(time, &time_ns) < 0)
        return -EINVAL;
    double between = (double)time_ns / n;
    if (between > (double)(INT64_MAX / 2))
        return -EINVAL;
    rate->between = (int64_t)between;
    rate->between += (double)rate->between < between; /* rather too late than too early */
    return 0;
}

int rates_add(struct rates *rates, const char *text)
{
    struct rate rate = { .name = text };
    const char *equals = strchr(text, '=');
    rate.name_len = equals ? (size_t)(equals - text) : 0;
    int r = equals == text ? -EINVAL : read_figures(equals ? equals + 1 : text, &rate);
    return r < 0 ? r : add(rates, rate);
}

int rates_add_delay(struct rates *rates, int64_t delay_ns)
{
    struct rate rate = { .name = "", .burst = 1, .between = delay_ns };
    return delay_ns ? add(rates, rate) : 0;
}

int rates_bind(const struct rates *rates, struct plan *plan, struct complaint *complaint)
{
    struct job *job;
    STAILQ_FOREACH(job, &plan->jobs, in_plan) {
        if (!job->rate)
            continue;
        if (find(rates, job->rate, strlen(job->rate)) == rates->count)
            return complain(complaint,
                            "%zu:%zu: job \"%s\" has the rate \"%s\", which there is not: "
                            "--rate=%s=N says how many starts there are in a second",
                            job->line, job->column, job->key, job->rate, job->rate);
    }
    return 0;
}

/* ---- permits ---- */

int rates_init(struct rates *rates)
{
    for (unsigned i = 0; i < rates->count; i++) {
        struct rate *rate = &rates->each[i];
        struct fm_rate_limiter_config config = FM_RATE_LIMITER_CONFIG_INIT;
        config.limit = rate->burst;
        config.interval_ns = rate->burst * rate->between;
        int r = fm_rate_limiter_create(&config, &rate->limiter);
        if (r == 0)
            r = fm_semaphore_create(0, &rate->asked);
        if (r < 0)
            return r;
    }
    return 0;
}

void rates_fini(struct rates *rates)
{
    for (unsigned i = 0; i < rates->count; i++) {
        fm_rate_limiter_destroy(rates->each[i].limiter);
        fm_semaphore_destroy(rates->each[i].asked);
    }
}

/* Does it hold for this job? */
static bool applies(const struct rate *rate, const struct job *job)
{
    return !rate->name_len || (job->rate && strlen(job->rate) == rate->name_len &&
                               !memcmp(job->rate, rate->name, rate->name_len));
}

struct bringer {
    struct batch *batch;
    struct rate *rate;
};

static struct fm_exit bring_entry(void *arg)
{
    struct bringer bringer = *(struct bringer *)arg;
    struct batch *batch = bringer.batch;
    struct rate *rate = bringer.rate;
    free(arg);
    while (fm_semaphore_acquire(rate->asked, 1, FM_NEVER) == 0) {
        if (fm_rate_limiter_acquire(rate->limiter, 1, FM_NEVER) < 0)
            break;
        pthread_mutex_lock(&batch->lock);
        rate->permits++;
        rate->wanted = rate->told = false;
        pthread_mutex_unlock(&batch->lock);
        fm_semaphore_release(batch->news, 1);
    }
    return fm_ok(NULL);
}

int rates_begin(struct batch *batch)
{
    struct fm_spawn_options options = FM_SPAWN_OPTIONS_INIT;
    options.arg_drop = free;
    for (unsigned i = 0; i < batch->options.rates.count; i++) {
        struct bringer *bringer = malloc(sizeof *bringer);
        if (!bringer)
            return -ENOMEM;
        *bringer = (struct bringer) { batch, &batch->options.rates.each[i] };
        int r = fm_fiber_spawn(bring_entry, bringer, &options, NULL);
        if (r < 0) {
            free(bringer);
            return r;
        }
    }
    return 0;
}

bool rates_let_locked(struct batch *batch, const struct job *job)
{
    bool let = true;
    for (unsigned i = 0; i < batch->options.rates.count; i++) {
        struct rate *rate = &batch->options.rates.each[i];
        if (!applies(rate, job) || rate->permits)
            continue;
        rate->wanted = true;
        let = false;
    }
    return let;
}

void rates_use_locked(struct batch *batch, struct job *job)
{
    for (unsigned i = 0; i < batch->options.rates.count; i++)
        if (applies(&batch->options.rates.each[i], job))
            batch->options.rates.each[i].permits--;
    job->permitted = true;
}

void rates_ask(struct batch *batch)
{
    for (unsigned i = 0; i < batch->options.rates.count; i++) {
        struct rate *rate = &batch->options.rates.each[i];
        pthread_mutex_lock(&batch->lock);
        bool tell = rate->wanted && !rate->told;
        rate->told = rate->told || tell;
        pthread_mutex_unlock(&batch->lock);
        if (tell)
            fm_semaphore_release(rate->asked, 1);
    }
}

int rates_await(struct batch *batch, struct job *job)
{
    int r = 0;
    for (unsigned i = 0; i < batch->options.rates.count && r == 0 && !job->permitted; i++)
        if (applies(&batch->options.rates.each[i], job))
            r = fm_rate_limiter_acquire(batch->options.rates.each[i].limiter, 1, FM_NEVER);
    job->permitted = false;
    return r;
}
