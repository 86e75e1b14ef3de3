// C++20's waits: atomic::wait, barrier, semaphores, latch, jthread's stop, shared_mutex, timed_mutex, call_once.
#include <atomic>
#include <barrier>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <semaphore>
#include <shared_mutex>
#include <stop_token>
#include <thread>
#include <vector>

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			std::fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__,      \
				     #condition);                                                  \
			std::_Exit(99);                                                            \
		}                                                                                  \
	} while (0)

using namespace std::chrono_literals;

static void atomics()
{
	std::atomic<int> turn{0};
	std::vector<std::jthread> threads;
	for (int me = 0; me < 4; me++)
		threads.emplace_back([&turn, me] {
			for (int round = 0; round < 100; round++) {
				int seen;
				while ((seen = turn.load()) % 4 != me)
					turn.wait(seen);
				turn.fetch_add(1);
				turn.notify_all();
			}
		});
	threads.clear();
	std::printf("turn %d\n", turn.load());
}

static void barriers()
{
	int completions = 0;
	std::atomic<int> arrived{0};
	std::barrier barrier(8, [&]() noexcept { completions++; });
	{
		std::vector<std::jthread> threads;
		for (int i = 0; i < 8; i++)
			threads.emplace_back([&] {
				for (int round = 1; round <= 20; round++) {
					arrived++;
					barrier.arrive_and_wait();
					CHECK(arrived >= 8 * round);
				}
			});
	}
	std::printf("%d completions\n", completions);
}

static void semaphores()
{
	std::counting_semaphore<5> room(2);
	std::binary_semaphore done(0);
	std::atomic<int> inside{0};
	CHECK(!done.try_acquire());
	CHECK(!done.try_acquire_for(20ms));
	std::vector<std::jthread> threads;
	for (int i = 0; i < 10; i++)
		threads.emplace_back([&, i] {
			room.acquire();
			CHECK(++inside <= 2);
			std::this_thread::sleep_for(1ms);
			inside--;
			room.release();
			if (i == 9)
				done.release();
		});
	done.acquire();
	threads.clear();
	std::puts("semaphores");
}

static void stops()
{
	std::mutex mutex;
	std::condition_variable_any changed;
	bool stopped = false;
	std::jthread thread([&](std::stop_token stop) {
		std::unique_lock lock(mutex);
		stopped = !changed.wait(lock, stop, [] { return false; });
	});
	std::this_thread::sleep_for(5ms);
	thread.request_stop();
	thread.join();
	CHECK(stopped);
	std::puts("stopped");
}

static void mutexes()
{
	std::timed_mutex timed;
	std::shared_mutex shared;
	std::once_flag once;
	int made = 0;
	timed.lock();
	std::thread([&] {
		auto begin = std::chrono::steady_clock::now();
		CHECK(!timed.try_lock_for(30ms));
		CHECK(std::chrono::steady_clock::now() - begin >= 30ms);
		CHECK(!timed.try_lock_until(std::chrono::system_clock::now() + 10ms));
	}).join();
	timed.unlock();
	std::barrier together(6);
	std::vector<std::jthread> threads;
	for (int i = 0; i < 6; i++)
		threads.emplace_back([&] {
			{
				std::shared_lock reading(shared);
				together.arrive_and_wait(); // all six hold it
			}
			std::unique_lock writing(shared);
			std::call_once(once, [&] {
				std::this_thread::sleep_for(2ms);
				made++;
			});
		});
	threads.clear();
	std::printf("made %d\n", made);
}

int main()
{
	atomics();
	barriers();
	semaphores();
	stops();
	mutexes();
	return 0;
}
