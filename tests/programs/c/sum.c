#include "sum.h"

#include <stdlib.h>

long sum(int count, char **numbers)
{
	long total = 0;
	for (int at = 0; at < count; at++)
		total += strtol(numbers[at], NULL, 10);
	return total;
}
