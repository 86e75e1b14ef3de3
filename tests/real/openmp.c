// GCC's OpenMP: loops, reductions, barriers, critical sections and tasks, with more threads than processors.
#include <omp.h>
#include <stdio.h>

enum { SIZE = 200 };

static double left[SIZE][SIZE], right[SIZE][SIZE], product[SIZE][SIZE];

static long fibonacci(int n)
{
	long one, two;
	if (n < 2)
		return n;
#pragma omp task shared(one) if (n > 12)
	one = fibonacci(n - 1);
#pragma omp task shared(two) if (n > 12)
	two = fibonacci(n - 2);
#pragma omp taskwait
	return one + two;
}

static void everything(int threads)
{
	long total = 0, inside = 0, found = 0;
	int members = 0;
	omp_set_num_threads(threads);
	for (int round = 0; round < 200; round++) {
#pragma omp parallel for reduction(+ : total) schedule(dynamic, 7)
		for (int i = 0; i < 1000; i++)
			total += i ^ round;
	}
#pragma omp parallel for
	for (int i = 0; i < SIZE; i++)
		for (int j = 0; j < SIZE; j++) {
			left[i][j] = i + j;
			right[i][j] = i - j;
		}
#pragma omp parallel for collapse(2) schedule(guided)
	for (int i = 0; i < SIZE; i++)
		for (int j = 0; j < SIZE; j++) {
			double sum = 0;
			for (int k = 0; k < SIZE; k++)
				sum += left[i][k] * right[k][j];
			product[i][j] = sum;
		}
#pragma omp parallel reduction(+ : members)
	{
		for (int i = 0; i < 100; i++) {
#pragma omp barrier
		}
		members++;
#pragma omp critical
		inside++;
#pragma omp single
		found = fibonacci(20);
#pragma omp for ordered
		for (int i = 0; i < 20; i++) {
#pragma omp ordered
			printf("%d ", i);
		}
	}
	printf("\n%d threads: %ld, %d members, %ld inside, %.0f, %ld\n", threads, total, members,
	       inside, product[17][33], found);
}

int main(void)
{
	omp_set_dynamic(0);
	everything(2);
	everything(8);
	everything(50);
	return 0;
}
