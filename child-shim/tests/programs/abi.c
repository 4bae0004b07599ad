/* What include/supervise.h promises, as C and as C++. Arguments: a file that is granted, its content, one that is refused. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "supervise.h"

#define REQUIRE(condition)                                                  \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "line %d: %s (errno %d)\n", __LINE__, #condition, errno); \
            return 1;                                                       \
        }                                                                   \
    } while (0)

static int contains(int fd, const char *content)
{
    char buffer[256];
    ssize_t count = read(fd, buffer, sizeof buffer);
    return count == (ssize_t)strlen(content) && memcmp(buffer, content, (size_t)count) == 0 && close(fd) == 0;
}

static int ask_often(const char *path, const char *content)
{
    int round;
    for (round = 0; round < 100; round++) {
        int fd = supervise_request(path, O_RDONLY, 0, "often");
        REQUIRE(fd >= 0);
        REQUIRE(contains(fd, content));
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *granted, *content, *refused;
    int fd, status, child;

    REQUIRE(argc == 4);
    granted = argv[1];
    content = argv[2];
    refused = argv[3];
    REQUIRE(supervise_available() == 1);

    fd = supervise_request(granted, O_RDONLY | O_CLOEXEC, 0, NULL);
    REQUIRE(fd >= 0);
    REQUIRE(fcntl(fd, F_GETFD) == FD_CLOEXEC);
    REQUIRE(contains(fd, content));

    fd = supervise_request(granted, O_RDONLY, 0, "to be kept");
    REQUIRE(fd >= 0);
    REQUIRE(fcntl(fd, F_GETFD) == 0);
    REQUIRE(contains(fd, content));

    errno = 0;
    REQUIRE(supervise_request(refused, O_RDONLY, 0, NULL) == -1 && errno == EACCES);
    REQUIRE(supervise_request(granted, O_RDONLY | O_SYNC, 0, NULL) == -1 && errno == EINVAL);
    REQUIRE(supervise_request(granted, O_RDONLY | O_TRUNC, 0, NULL) == -1 && errno == EINVAL);
    REQUIRE(supervise_request("", O_RDONLY, 0, NULL) == -1 && errno == ENOENT);
    REQUIRE(supervise_request(NULL, O_RDONLY, 0, NULL) == -1 && errno == EFAULT);
    REQUIRE(supervise_open(NULL, O_RDONLY, 0) == -1 && errno == EFAULT);

    /* What needs no supervisor is native, whatever the flags. */
    REQUIRE(supervise_open("/nowhere/file", O_RDONLY, 0) == -1 && errno == ENOENT);
    fd = supervise_open("/", O_RDONLY | O_DIRECTORY | O_SYNC, 0);
    REQUIRE(fd >= 0 && fcntl(fd, F_GETFD) == 0 && close(fd) == 0);

    /* A child that was forked goes on, and so do we. */
    fflush(NULL);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0)
        _exit(ask_often(granted, content));
    REQUIRE(ask_often(granted, content) == 0);
    REQUIRE(waitpid(child, &status, 0) == child && status == 0);
    puts("all kept");
    return 0;
}
