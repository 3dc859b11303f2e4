/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.c - ask a running batch
 *
 * One question, one answer, in the main thread of a program that does nothing else.
 */
#include "tools/batcher/client.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "tools/batcher/control.h"
#include "tools/batcher/jobfile.h"
#include "tools/batcher/output.h"

enum { PATIENCE_S = 30 };

/* Who does not answer any more is not waited for; but for `wait` */
static void set_patience(int fd, const struct options *options)
{
    struct timeval patience = { .tv_sec = PATIENCE_S };
    if (options->command == COMMAND_WAIT)
        return;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

static int dial(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    int r = -errno;
    if (fd >= 0)
        close(fd);
    return r;
}

static int ask(int fd, const struct options *options, const char *jobs)
{
    static const char *const names[] = { [COMMAND_STATUS] = "status",
                                         [COMMAND_CANCEL] = "cancel",
                                         [COMMAND_WAIT] = "wait",
                                         [COMMAND_ADD] = "add",
                                         [COMMAND_REPLACE] = "replace" };
    struct json_object *question = json_object_new_object();
    if (!question)
        return -ENOMEM;
    json_object_object_add(question, "do", json_object_new_string(names[options->command]));
    json_object_object_add(question, "version", json_object_new_int(1));
    if (jobs) {
        bool standard = !strcmp(options->file, "-");
        json_object_object_add(question, "name",
                               json_object_new_string(standard ? "standard input"
                                                               : options->file));
        json_object_object_add(question, "jobs", json_object_new_string(jobs));
    }
    if (options->key)
        json_object_object_add(question, "key", json_object_new_string(options->key));
    const char *line = json_object_to_json_string_ext(question, JSON_C_TO_STRING_PLAIN);
    int r = strlen(line) < CONTROL_QUESTION_MAX ? 0 : -EMSGSIZE;
    if (r == 0)
        r = write_whole(fd, line, strlen(line));
    if (r == 0)
        r = write_whole(fd, "\n", 1);
    json_object_put(question);
    return r;
}

/* All until the end: to be put, NULL: it is none. */
static struct json_object *hear(int fd)
{
    FILE *file = fdopen(fd, "r");
    if (!file) {
        close(fd);
        return NULL;
    }
    char *line = NULL;
    size_t size = 0;
    struct json_object *answer = getline(&line, &size, file) > 0 ? json_tokener_parse(line)
                                                                 : NULL;
    free(line);
    fclose(file);
    return answer;
}

static int show(struct json_object *answer)
{
    struct json_object *value;
    if (json_object_object_get_ex(answer, "error", &value)) {
        fprintf(stderr, "batch: %s\n", json_object_get_string(value));
        return 1;
    }
    puts(json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PRETTY |
                                                    JSON_C_TO_STRING_SPACED |
                                                    JSON_C_TO_STRING_NOSLASHESCAPE));
    return json_object_object_get_ex(answer, "exit_code", &value) ? json_object_get_int(value)
                                                                  : 0;
}

int client_run(const struct options *options)
{
    char *jobs = NULL;
    int r = options->file ? jobfile_text(options->file, &jobs, &(size_t) { 0 }) : 0;
    if (r < 0) {
        fprintf(stderr, "batch: %s: %s\n", options->file, fm_strerror(r));
        return BATCH_ERROR;
    }
    int fd = dial(options->socket);
    if (fd >= 0)
        set_patience(fd, options);
    r = fd < 0 ? fd : ask(fd, options, jobs);
    free(jobs);
    if (r < 0) {
        if (fd >= 0)
            close(fd);
        fprintf(stderr, "batch: %s: %s\n", options->socket, fm_strerror(r));
        return BATCH_ERROR;
    }
    struct json_object *answer = hear(fd);
    if (!answer) {
        fprintf(stderr, "batch: %s: it gave no answer\n", options->socket);
        return BATCH_ERROR;
    }
    int code = show(answer);
    json_object_put(answer);
    return code;
}
