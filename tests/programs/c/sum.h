/* The sum of count numbers. */
long sum(int count, char **numbers);
