/* A worker: answers each job with the job itself. "ask" asks for a name first, "fail" fails, and "wait PATH" waits for a file. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "supervise.h"

static int wait_for(supervise_job *job, const char *text) {
    char path[4096];
    /* As it stands in JSON: a path with a quote or a backslash in it would need more. */
    if (sscanf(text, "\"wait %4095[^\"\\]\"", path) != 1) return SUPERVISE_FAILED;
    while (access(path, F_OK) != 0) {
        if (supervise_job_is_cancelled(job)) {
            supervise_job_reply(job, "\"stopped\"");
            return SUPERVISE_FAILED;
        }
        usleep(5000);
    }
    supervise_job_reply(job, "\"it is there\"");
    return SUPERVISE_DONE;
}

static int work(supervise_job *job, void *data) {
    const char *text = supervise_job_text(job);
    ++*(int *)data;
    if (!supervise_job_continues(job)) {
        if (strcmp(text, "\"ask\"") == 0) {
            supervise_job_reply(job, "\"name?\"");
            return SUPERVISE_WAIT;
        }
        if (strcmp(text, "\"fail\"") == 0) {
            supervise_job_reply(job, "\"as it was told to\"");
            return SUPERVISE_FAILED;
        }
        if (strncmp(text, "\"wait ", 6) == 0) return wait_for(job, text);
    }
    supervise_job_reply(job, text);
    return SUPERVISE_DONE;
}

int main(void) {
    int jobs = 0;
    int ending = supervise_serve(work, &jobs);
    if (ending < 0) {
        perror("worker");
        return 1;
    }
    fprintf(stderr, "ended after %d jobs\n", jobs);
    return 0;
}
