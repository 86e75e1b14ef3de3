// More places that make calls than can be caught: every call is still made.
// guest: set=GEVENT_SHIM_CATCH=1
#include "jit.h"

enum { PLACES = 6000, SIZE = 16 };

static void *calls_all(void *memory)
{
	for (int i = 0; i < PLACES; i++) {
		int (*place)(void) = (int (*)(void))((char *)memory + i * SIZE);
		IS(place(), getpid());
	}
	return NULL;
}

int main(void)
{
	/* mov eax, SYS_getpid; syscall; ret */
	static const unsigned char code[] = { 0xb8, SYS_getpid, 0, 0, 0, 0x0f, 0x05, 0xc3 };
	char *memory = mmap(NULL, PLACES * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED);
	for (int i = 0; i < PLACES; i++)
		memcpy(memory + i * SIZE, code, sizeof code);
	IS(mprotect(memory, PLACES * SIZE, PROT_READ | PROT_EXEC), 0);
	for (int i = 0; i < 2; i++)
		join(start(calls_all, memory));
	puts("all were made");
	return 0;
}
