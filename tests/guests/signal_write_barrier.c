// A collector's write barrier: threads write to protected pages, the SIGSEGV handler notes the page and unprotects it.
#include "guest.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { THREADS = 8, PAGES = 16, ROUNDS = 30, PAGE = 4096 };
static unsigned char *heap;
static atomic_int dirty[THREADS * PAGES], faults;
static __thread int own_faults;
static __thread sigjmp_buf leave;
static __thread volatile bool may_leave;
static pthread_barrier_t barrier;

static void on_fault(int signal, siginfo_t *info, void *context)
{
	size_t at = (size_t)((unsigned char *)info->si_addr - heap);
	if (at >= (size_t)THREADS * PAGES * PAGE) {
		/* A null check that is left to the processor, as virtual machines do it. */
		CHECK(may_leave);
		siglongjmp(leave, signal);
	}
	CHECK(signal == SIGSEGV && info->si_code == SEGV_ACCERR);
	/* A write, says the processor. */
	CHECK(((ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & 2);
	IS(mprotect(heap + at / PAGE * PAGE, PAGE, PROT_READ | PROT_WRITE), 0);
	IS(atomic_exchange(&dirty[at / PAGE], 1), 0);
	atomic_fetch_add(&faults, 1);
	own_faults++;
}

static void *mutates(void *raw)
{
	int own = (int)(intptr_t)raw;
	for (int round = 0; round < ROUNDS; round++) {
		pthread_barrier_wait(&barrier);
		int before = own_faults;
		for (int page = 0; page < PAGES; page++) {
			volatile unsigned char *object = heap + (size_t)(own * PAGES + page) * PAGE;
			CHECK(object[7] == (unsigned char)round);
			object[7] = (unsigned char)(round + 1);
			object[8] = (unsigned char)own;
			if (page == round % PAGES)
				sleep_ms(0);
		}
		IS(own_faults - before, PAGES);
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

static void *checks_null(void *unused)
{
	may_leave = true;
	for (volatile int i = 0; i < 1000; i++) {
		volatile int caught = sigsetjmp(leave, 1);
		if (!caught)
			*(volatile int *)unmapped = i;
		IS(caught, SIGSEGV);
	}
	return unused;
}

/* Behind the end of a file that became shorter. */
static void *reads_behind_the_end(void *unused)
{
	char name[] = "/tmp/write-barrier-XXXXXX";
	int file = mkstemp(name);
	CHECK(file >= 0);
	IS(unlink(name), 0);
	IS(ftruncate(file, 2 * PAGE), 0);
	volatile char *map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	CHECK(map != MAP_FAILED);
	IS(map[PAGE], 0);
	IS(ftruncate(file, PAGE), 0);
	may_leave = true;
	volatile int caught = sigsetjmp(leave, 1);
	if (!caught)
		CHECK(map[PAGE] == 1);
	IS(caught, SIGBUS);
	/* The kernel itself meets it in a call. */
	int ends[2];
	IS(pipe(ends), 0);
	FAILS(write(ends[1], (const void *)(uintptr_t)(map + PAGE), 1), EFAULT);
	close(ends[0]);
	close(ends[1]);
	close(file);
	return unused;
}

static void *divides(void *zero)
{
	may_leave = true;
	volatile int by = (int)(intptr_t)zero, caught = sigsetjmp(leave, 1);
	if (!caught)
		by = 7 / by;
	IS(caught, SIGFPE);
	return NULL;
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	IS(sigaction(SIGSEGV, &action, NULL), 0);
	IS(sigaction(SIGBUS, &action, NULL), 0);
	IS(sigaction(SIGFPE, &action, NULL), 0);
	size_t size = (size_t)THREADS * PAGES * PAGE;
	heap = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(heap != MAP_FAILED);
	OK(pthread_barrier_init(&barrier, NULL, THREADS + 1));
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		threads[i] = start(mutates, (void *)(intptr_t)i);
	for (int round = 0; round < ROUNDS; round++) {
		for (size_t page = 0; page < THREADS * PAGES; page++)
			atomic_store(&dirty[page], 0);
		IS(mprotect(heap, size, PROT_READ), 0);
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		for (size_t page = 0; page < THREADS * PAGES; page++)
			IS(atomic_load(&dirty[page]), 1);
	}
	for (int i = 0; i < THREADS; i++)
		join(threads[i]);
	IS(atomic_load(&faults), THREADS * PAGES * ROUNDS);
	puts("every first write was seen");
	for (int i = 0; i < THREADS; i++)
		threads[i] = start(checks_null, NULL);
	for (int i = 0; i < THREADS; i++)
		join(threads[i]);
	puts("null checks");
	join(start(reads_behind_the_end, NULL));
	puts("the end of a mapped file");
	join(start(divides, NULL));
	puts("division by zero");
	return 0;
}
