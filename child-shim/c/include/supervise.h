/*
 * Asking the supervisor of a sandbox for files, and being a worker that a supervisor keeps.
 *
 * Link with -lsupervise. Outside a sandbox supervise_open is open(2).
 */
#ifndef SUPERVISE_H
#define SUPERVISE_H

#include <fcntl.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Whether there is a supervisor to ask: 1, or 0. */
int supervise_available(void);

/*
 * As open(2), where mode is always given. Where the kernel says EACCES, the supervisor is asked,
 * which may take as long as an operator needs to decide.
 *
 * Returns a descriptor, or -1 and sets errno as open(2) does. What can be asked for are O_RDONLY, O_WRONLY,
 * O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DIRECTORY, O_NOFOLLOW and O_NONBLOCK; with other
 * flags the kernel's word stands. O_CLOEXEC and O_NOCTTY are understood.
 */
int supervise_open(const char *path, int flags, mode_t mode);

/*
 * Asks the supervisor, whatever the kernel would say. why is a reason for the operator to read, or
 * a null pointer. Returns as supervise_open, and EINVAL for what cannot be asked for.
 */
int supervise_request(const char *path, int flags, mode_t mode, const char *why);

/*
 * A worker. Each job is done by one call of a function of yours, one after the other, on a thread of their own. What is to be
 * done, and what comes of it, is JSON.
 */
typedef struct supervise_job supervise_job;

enum supervise_outcome {
    SUPERVISE_DONE = 0,   /* the session is over; the reply is its result */
    SUPERVISE_WAIT = 1,   /* the session wants input; the reply says what for. The next call with it has that input */
    SUPERVISE_FAILED = 2, /* the session is over without a result; the reply says why */
};

/* Returns an outcome. data is what supervise_serve was given. The job is of no use after the call. */
typedef int (*supervise_work)(supervise_job *job, void *data);

/*
 * Does jobs until there is a reason to end. Takes SIGTERM while it lasts. When a job that runs does not stop in time this
 * returns all the same: end the process then.
 *
 * Returns 0 when a client asked it to end, 1 when it had no job for long enough, 2 when SIGTERM came; or -1 and sets errno:
 * EBADF when this process was not started as a worker.
 */
int supervise_serve(supervise_work work, void *data);

/* The session's name: what you know of a session you keep by it. */
const char *supervise_job_session(const supervise_job *job);

/* What is to be done, or the input that was given: JSON. */
const char *supervise_job_text(const supervise_job *job);

/* Whether the session waited for this: 1, or 0 for its first job. */
int supervise_job_continues(const supervise_job *job);

/* Whether the job shall stop: 1, or 0. */
int supervise_job_is_cancelled(const supervise_job *job);

/* Says what the job came to. Returns 0, or -1 and sets errno to EINVAL when it is no JSON. Without one the reply is null. */
int supervise_job_reply(supervise_job *job, const char *json);

#ifdef __cplusplus
}
#endif

#endif
