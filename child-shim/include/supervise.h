/*
 * Asking the supervisor of a sandbox for files.
 *
 * Link with -lchild_shim. Outside a sandbox supervise_open is open(2).
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

#ifdef __cplusplus
}
#endif

#endif
