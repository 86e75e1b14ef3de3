/*
 * RLIMIT_FSIZE 0, from the start and later: threads wait as ever, and only the program's own writes to
 * files end with SIGXFSZ or EFBIG.
 */
#include <signal.h>
#include "limit.h"

static atomic_int too_large;

static void handler(int signal)
{
	CHECK(signal == SIGXFSZ);
	atomic_fetch_add(&too_large, 1);
}

static void *nothing(void *unused)
{
	return unused;
}

static void *writes(void *unused)
{
	FAILS(write(locked, "x", 1), EFBIG);
	FAILS(ftruncate(locked, 10), EFBIG);
	return unused;
}

int main(void)
{
	const struct rlimit none = { 0, 0 };
	struct sigaction action = { .sa_handler = handler };
	for (int later = 0; later < 2; later++) {
		fflush(stdout);
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			prepare();
			if (later)
				join(start(nothing, NULL));
			IS(setrlimit(RLIMIT_FSIZE, &none), 0);
			everything();
			IS(sigaction(SIGXFSZ, &action, NULL), 0);
			join(start(writes, NULL));
			IS(atomic_load(&too_large), 2);
			action.sa_handler = SIG_DFL;
			IS(sigaction(SIGXFSZ, &action, NULL), 0);
			CHECK(write(locked, "x", 1) < 0);
			_exit(0);
		}
		int status;
		IS(waitpid(child, &status, 0), child);
		/* Without the bit that says whether there was a core file. */
		printf("%d: %x\n", later, (unsigned)status & 0xff7f);
	}
	return 0;
}
