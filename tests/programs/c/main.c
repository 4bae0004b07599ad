#include "sum.h"

#include <stdio.h>

int main(int argc, char **argv)
{
	return printf("%ld\n", sum(argc - 1, argv + 1)) < 0;
}
