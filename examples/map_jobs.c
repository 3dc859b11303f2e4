#include <errno.h>
#include <fm/fm.h>
#include <stdio.h>

#include "virtual.h"

struct job {
    const char *name;
    int64_t ms;
    int fails; /* so often, then it succeeds */
};

static struct fm_exit do_job(void *arg)
{
    struct job *job = arg;
    int r = fm_sleep_ms(job->ms);
    if (r == 0 && job->fails-- > 0)
        r = -EIO;
    return r < 0 ? fm_fail_with(r, job) : fm_ok(job);
}

static int start(struct fm_map *jobs, struct job *job)
{
    return fm_map_run(jobs, fm_key_str(job->name), do_job, job, NULL, NULL);
}

static struct fm_exit program(void *arg)
{
    static struct job all[] = { { "paint", 300, 0 }, { "saw", 100, 0 }, { "glue", 200, 1 } };
    struct fm_map_config config = FM_MAP_CONFIG_INIT;
    struct fm_completion *done;
    struct fm_map *jobs;
    int succeeded = 0, failed = 0;

    config.completions = 16; /* as many ends as can wait to be taken */
    int r = fm_map_create_scoped(&config, &jobs);
    for (int i = 0; i < 3 && r == 0; i++)
        r = start(jobs, &all[i]);
    if (r < 0)
        return fm_fail(r);

    /* One after the other, as they end; -ENOENT when nothing runs and nothing is left. */
    while ((r = fm_map_next(jobs, FM_NEVER, &done)) == 0) {
        printf("%lld ms  %.*s: %s\n", (long long)(fm_now_ns() / 1000000), (int)done->key.len,
               (const char *)done->key.data, fm_exit_kind_name(done->exit.kind));
        succeeded += done->exit.kind == FM_SUCCESS;
        if (done->exit.kind == FM_FAILURE) {
            failed++;
            start(jobs, done->exit.value); /* once more: the key is free */
        }
        fm_completion_free(done);
    }
    return r == -ENOENT && succeeded == 3 && failed == 1 ? fm_ok(arg) : fm_fail(-EPROTO);
}

int main(void)
{
    return run_virtually(program, 0);
}
