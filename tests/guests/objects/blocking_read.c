// A read through an inline system call instruction, with values held in vector registers across it.
#include <stddef.h>
#include <sys/syscall.h>

long blocking_read(int fd, void *buffer, size_t length);

/* Returns what the call returned, or -1000 when a vector register changed meanwhile. */
long blocking_read(int fd, void *buffer, size_t length)
{
	long result;
#if defined __x86_64__
	register double kept __asm__("xmm7") = 1234.5;
	register double also __asm__("xmm15") = -0.25;
	__asm__ volatile("syscall"
			 : "=a"(result), "+x"(kept), "+x"(also)
			 : "a"(SYS_read), "D"(fd), "S"(buffer), "d"(length)
			 : "rcx", "r11", "memory");
	return kept == 1234.5 && also == -0.25 ? result : -1000;
#elif defined __aarch64__
	register long number __asm__("x8") = SYS_read;
	register long first __asm__("x0") = fd;
	register long second __asm__("x1") = (long)buffer;
	register long third __asm__("x2") = (long)length;
	__asm__ volatile("svc 0" : "+r"(first) : "r"(number), "r"(second), "r"(third) : "memory");
	result = first;
	return result;
#else
#error "no inline system call for this machine"
#endif
}
