// std::thread, async, future, condition_variable, latch and thread_local with destructors.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <latch>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <string>
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

static std::atomic<int> destroyed;

struct Local {
	std::string text = "fresh";
	~Local()
	{
		CHECK(text == "used");
		destroyed++;
	}
};

static thread_local Local local;

int main()
{
	using namespace std::chrono_literals;

	std::vector<std::thread> threads;
	std::latch ready(10), go(1);
	for (int i = 0; i < 10; i++)
		threads.emplace_back([&] {
			CHECK(local.text == "fresh");
			local.text = "used";
			ready.count_down();
			go.wait();
		});
	ready.wait();
	CHECK(destroyed == 0);
	go.count_down();
	for (auto &thread : threads)
		thread.join();
	CHECK(destroyed == 10);
	std::puts("thread_local destructors ran");

	std::vector<std::future<long>> sums;
	for (long i = 0; i < 20; i++)
		sums.push_back(std::async(std::launch::async, [i] {
			std::this_thread::sleep_for(1ms);
			return i * i;
		}));
	long sum = 0;
	for (auto &future : sums)
		sum += future.get();
	std::printf("async sum %ld\n", sum);

	auto thrower = std::async(std::launch::async, []() -> int {
		std::this_thread::sleep_for(5ms);
		throw std::runtime_error("from another thread");
	});
	try {
		thrower.get();
	} catch (const std::runtime_error &error) {
		std::printf("caught: %s\n", error.what());
	}

	std::mutex mutex;
	std::condition_variable changed;
	std::unique_lock lock(mutex);
	CHECK(changed.wait_for(lock, 20ms, [] { return false; }) == false);
	bool set = false;
	std::thread setter([&] {
		std::lock_guard guard(mutex);
		set = true;
		changed.notify_one();
	});
	changed.wait(lock, [&] { return set; });
	lock.unlock();
	setter.join();
	std::puts("condition_variable done");
	return 0;
}
