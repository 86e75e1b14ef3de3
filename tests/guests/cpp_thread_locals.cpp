// Destructors of thread_local objects, keys and statics: their order, in threads, in main and at exit.
// guest: exits=9
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <pthread.h>
#include <semaphore.h>
#include <thread>
#include <unistd.h>

struct Told {
	const char *name;
	explicit Told(const char *name) : name(name) {}
	~Told() { std::printf("%s destroyed\n", name); }
	void touch() {}
};

static Told global("a static");
static thread_local Told first("the first thread_local");
static thread_local Told second("the second thread_local");
static pthread_key_t key;

static void key_destructor(void *) { std::printf("a key's destructor\n"); }
static void at_exit() { std::printf("atexit\n"); }

struct Late {
	~Late()
	{
		/* A thread_local that is first used while others are destroyed. */
		thread_local Told late("a late thread_local");
		late.touch();
		std::printf("the one that makes another\n");
	}
};

static void *uses(void *)
{
	first.touch();
	second.touch();
	thread_local Late late;
	(void)&late;
	auto *volatile keep = &late;
	(void)keep;
	pthread_setspecific(key, &key);
	static Told in_function("a static of a function");
	in_function.touch();
	std::printf("the thread ends\n");
	return nullptr;
}

static void *exits(void *)
{
	first.touch();
	pthread_setspecific(key, &key);
	std::printf("exit from a thread\n");
	std::exit(9);
}

static sem_t never;

int main()
{
	std::atexit(at_exit);
	pthread_key_create(&key, key_destructor);
	sem_init(&never, 0, 0);
	second.touch();
	pthread_t thread;
	pthread_create(&thread, nullptr, uses, nullptr);
	pthread_join(thread, nullptr);
	std::thread([] { first.touch(); pthread_setspecific(key, &key); }).join();
	std::thread([] { sem_wait(&never); }).detach();
	pthread_create(&thread, nullptr, exits, nullptr);
	for (;;)
		pause();
}
