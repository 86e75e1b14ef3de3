// Blocks in a read of its standard input until that is closed.
#include <unistd.h>
__attribute__((noinline)) static long wait_for_input(void) { char c; long n = read(0, &c, 1); __asm__ volatile("" : "+r"(n)); return n; }
int main(void) { return (int)wait_for_input(); }
