// An exception thrown by a signal handler leaves a blocking read and reaches main, or the thread's body.
// guest: compile=-fnon-call-exceptions compile=-fasynchronous-unwind-tables
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <pthread.h>
#include <stdexcept>
#include <thread>
#include <unistd.h>

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			std::fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__,      \
				     #condition);                                                  \
			std::_Exit(99);                                                            \
		}                                                                                  \
	} while (0)

static int ends[2];
static std::atomic<bool> armed, caught;

static void handler(int)
{
	if (armed.exchange(false))
		throw std::runtime_error("from the handler");
}

struct Guard {
	const char *name;
	~Guard() { std::printf("left %s\n", name); }
};

/* Not noexcept, though the C library's header says read never throws: called through a pointer. */
static ssize_t (*volatile blocking_read)(int, void *, size_t) = read;

__attribute__((noinline)) static long reads_deeper()
{
	Guard guard{"reads_deeper"};
	char byte;
	armed = true;
	return blocking_read(ends[0], &byte, 1);
}

__attribute__((noinline)) static long reads()
{
	Guard guard{"reads"};
	return reads_deeper() + 1;
}

static void body()
{
	try {
		reads();
		CHECK(false);
	} catch (const std::runtime_error &error) {
		std::printf("caught: %s\n", error.what());
	}
	// The handler was left without returning, so its mask is ours to undo.
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
	caught = true;
	std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

static void signal_until_caught(pthread_t target)
{
	using namespace std::chrono_literals;
	while (!armed)
		std::this_thread::sleep_for(1ms);
	// A moment for the call to begin: before it, the exception would pass through no read at all.
	std::this_thread::sleep_for(50ms);
	pthread_kill(target, SIGUSR1);
}

int main()
{
	struct sigaction action = {};
	action.sa_handler = handler;
	CHECK(sigaction(SIGUSR1, &action, nullptr) == 0);
	CHECK(pipe(ends) == 0);

	std::thread signaller(signal_until_caught, pthread_self());
	body();
	signaller.join();
	CHECK(caught.exchange(false));
	std::puts("in main");

	std::thread thread(body);
	std::thread other(signal_until_caught, thread.native_handle());
	thread.join();
	other.join();
	CHECK(caught);
	std::puts("in a thread");
	return 0;
}
