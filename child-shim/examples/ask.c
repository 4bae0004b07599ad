/* Asks the supervisor for a file, and copies it to the standard output. */
#include <stdio.h>
#include <unistd.h>

#include "supervise.h"

int main(int argc, char **argv)
{
    char buffer[4096];
    ssize_t count;
    int fd;

    if (argc != 2) {
        fprintf(stderr, "usage: %s PATH\n", argv[0]);
        return 2;
    }
    if (!supervise_available()) {
        fprintf(stderr, "there is no supervisor to ask\n");
        return 1;
    }
    fd = supervise_request(argv[1], O_RDONLY | O_CLOEXEC, 0, "to show it");
    if (fd < 0) {
        perror(argv[1]);
        return 1;
    }
    while ((count = read(fd, buffer, sizeof buffer)) > 0)
        if (write(STDOUT_FILENO, buffer, (size_t)count) != count)
            return 1;
    return count < 0 ? 1 : close(fd) != 0;
}
