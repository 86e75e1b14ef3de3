// Cancellation unwinds C++ frames: destructors run, catch (...) must rethrow, noexcept is passed over not.
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cxxabi.h>
#include <mutex>
#include <pthread.h>
#include <semaphore.h>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

static std::atomic<int> destroyed, caught;
static int ends[2];
static sem_t never;

struct Counted {
	std::string text = "a string that is long enough to be on the heap";
	~Counted() { destroyed++; }
};

struct PerThread {
	~PerThread() { destroyed += 100; }
};
static thread_local PerThread per_thread;

static void deep(int depth, void (*call)())
{
	Counted counted;
	if (depth > 0)
		deep(depth - 1, call);
	else
		call();
	counted.text += "x";
}

static void catching(int depth, void (*call)())
{
	try {
		deep(depth, call);
	} catch (abi::__forced_unwind &) {
		caught++;
		throw;
	} catch (...) {
		std::puts("not a forced unwind");
		std::exit(1);
	}
}

struct Work {
	void (*call)();
};

static void *body(void *raw)
{
	(void)&per_thread;
	auto *volatile touch = &per_thread;
	(void)touch;
	catching(10, static_cast<Work *>(raw)->call);
	return nullptr;
}

static std::mutex mutex;
static std::condition_variable_any condition;

static void in_read()
{
	char byte;
	if (read(ends[0], &byte, 1) != 1)
		std::abort();
}
static void in_sleep() { std::this_thread::sleep_for(std::chrono::hours(1)); }
static void in_sem() { sem_wait(&never); }
static void in_usleep() { usleep(1000000000); }
static void in_condition()
{
	pthread_mutex_t *native = mutex.native_handle();
	struct Unlock {
		pthread_mutex_t *native;
		~Unlock()
		{
			if (pthread_mutex_unlock(native) != 0)
				std::abort();
		}
	};
	pthread_mutex_lock(native);
	Unlock unlock{ native };
	static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
	for (;;)
		pthread_cond_wait(&cond, native);
}
static void in_async()
{
	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, nullptr);
	for (;;)
		pthread_testcancel();
}

int main()
{
	if (pipe(ends) != 0 || sem_init(&never, 0, 0) != 0)
		return 1;
	std::pair<const char *, Work> all[] = {
		{ "read", { in_read } },   { "sleep_for", { in_sleep } },   { "sem_wait", { in_sem } },
		{ "usleep", { in_usleep } }, { "cond_wait", { in_condition } }, { "testcancel", { in_async } },
	};
	for (auto &[name, work] : all)
		for (int late = 0; late < 2; late++) {
			destroyed = caught = 0;
			pthread_t thread;
			if (pthread_create(&thread, nullptr, body, &work) != 0)
				return 1;
			if (late)
				usleep(10000);
			pthread_cancel(thread);
			void *value = nullptr;
			pthread_join(thread, &value);
			if (late)
				std::printf("%s: cancelled %d, destroyed %d, caught %d\n", name,
					    value == PTHREAD_CANCELED, destroyed.load(), caught.load());
		}
	return 0;
}
