// A library that says which functions of the program a crash was in, on a stack of its own if it was the
// initial thread's, and lets the process end by the signal.
#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char stack[64 << 10];

static void say(const char *line, int length)
{
	if (write(STDERR_FILENO, line, length) != length)
		_exit(99);
}

static void crashed(int signal)
{
	void *frames[64];
	char line[128];
	int count = backtrace(frames, 64);
	say(line, snprintf(line, sizeof line, "signal %d\n", signal));
	for (int i = 0; i < count; i++) {
		Dl_info found;
		if (!dladdr(frames[i], &found) || !found.dli_sname)
			continue;
		if (!strncmp(found.dli_sname, "level_", 6) || !strcmp(found.dli_sname, "main"))
			say(line, snprintf(line, sizeof line, "in %s\n", found.dli_sname));
	}
	sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
	raise(signal);
}

__attribute__((constructor)) static void begin(void)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGABRT};
	struct sigaction action = {.sa_handler = crashed, .sa_flags = SA_ONSTACK};
	void *frames[2];
	/* Opens what it needs. */
	backtrace(frames, 2);
	sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
	for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
		sigaction(signals[i], &action, NULL);
}
