// libgomp has system calls of its own.
#include <omp.h>
#include <stdio.h>
int main(void) {
    long sum = 0;
    omp_set_num_threads(4);
    for (int round = 0; round < 200; round++) {
#pragma omp parallel for reduction(+ : sum) schedule(dynamic)
        for (int i = 0; i < 100; i++) sum += i;
    }
    printf("%ld\n", sum);
    return 0;
}
