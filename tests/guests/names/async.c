// getaddrinfo_a: waited for, told of by a thread and by a signal, and asked for while others run.
#include "../net.h"
#include <netdb.h>
#include <signal.h>

enum { NAMES = 40 };

static atomic_int told_by_thread;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t told = PTHREAD_COND_INITIALIZER;

static void tell(union sigval value)
{
	OK(pthread_mutex_lock(&lock));
	told_by_thread = value.sival_int;
	OK(pthread_cond_signal(&told));
	OK(pthread_mutex_unlock(&lock));
}

struct batch {
	struct gaicb requests[NAMES], *list[NAMES];
	struct addrinfo hints;
	char names[NAMES][60];
};

static void prepare(struct batch *batch, const char *rest)
{
	memset(batch, 0, sizeof *batch);
	batch->hints = (struct addrinfo){ .ai_family = AF_INET, .ai_socktype = SOCK_STREAM };
	for (int i = 0; i < NAMES; i++) {
		snprintf(batch->names[i], sizeof batch->names[i], "h%d.%s", i, rest);
		batch->requests[i] = (struct gaicb){ .ar_name = batch->names[i],
						     .ar_request = &batch->hints };
		batch->list[i] = &batch->requests[i];
	}
}

static void report(struct batch *batch)
{
	for (int i = 0; i < NAMES; i++) {
		int error = gai_error(&batch->requests[i]);
		if (error) {
			printf("%s: %s\n", batch->names[i], gai_strerror(error));
			continue;
		}
		char text[INET_ADDRSTRLEN];
		struct addrinfo *found = batch->requests[i].ar_result;
		inet_ntop(AF_INET, &((struct sockaddr_in *)found->ai_addr)->sin_addr, text, sizeof text);
		printf("%s: %s\n", batch->names[i], text);
		freeaddrinfo(found);
	}
}

int main(void)
{
	static struct batch batch;
	prepare(&batch, "test");
	IS(getaddrinfo_a(GAI_WAIT, batch.list, NAMES, NULL), 0);
	report(&batch);

	prepare(&batch, "delay-20.test");
	struct sigevent by_thread = { .sigev_notify = SIGEV_THREAD, .sigev_value.sival_int = 7,
				      .sigev_notify_function = tell };
	IS(getaddrinfo_a(GAI_NOWAIT, batch.list, NAMES, &by_thread), 0);
	OK(pthread_mutex_lock(&lock));
	while (!told_by_thread)
		OK(pthread_cond_wait(&told, &lock));
	OK(pthread_mutex_unlock(&lock));
	printf("a thread tells %d\n", told_by_thread);
	report(&batch);

	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	OK(pthread_sigmask(SIG_BLOCK, &set, NULL));
	prepare(&batch, "missing.test");
	struct sigevent by_signal = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1,
				      .sigev_value.sival_int = 8 };
	IS(getaddrinfo_a(GAI_NOWAIT, batch.list, NAMES, &by_signal), 0);
	siginfo_t from;
	IS(sigwaitinfo(&set, &from), SIGUSR1);
	printf("a signal tells %d\n", from.si_value.sival_int);
	report(&batch);

	prepare(&batch, "test");
	IS(getaddrinfo_a(GAI_NOWAIT, batch.list, NAMES, NULL), 0);
	for (int i = 0; i < NAMES; i++) {
		const struct gaicb *one[] = { batch.list[i] };
		while (gai_error(batch.list[i]) == EAI_INPROGRESS) {
			int result = gai_suspend(one, 1, NULL);
			CHECK(result == 0 || result == EAI_ALLDONE || result == EAI_INTR);
		}
	}
	report(&batch);
	return 0;
}
