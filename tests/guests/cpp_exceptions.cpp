// Exceptions across frames that block, between threads, nested and rethrown; each thread has its own.
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <future>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			std::fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__,      \
				     #condition);                                                  \
			std::_Exit(99);                                                            \
		}                                                                                  \
	} while (0)

static void nap()
{
	std::this_thread::sleep_for(std::chrono::microseconds(200));
}

struct Guard {
	int &count;
	explicit Guard(int &count) : count(count) {}
	~Guard()
	{
		nap(); // blocks while an exception passes
		count++;
	}
};

static int deep(int depth, int &unwound)
{
	Guard guard(unwound);
	nap();
	if (depth == 0)
		throw std::runtime_error("at the bottom");
	return deep(depth - 1, unwound) + 1;
}

/* Every thread is inside a catch while the others throw: the runtime's state is each one's own. */
static int throws_in_a_catch(int index)
{
	int passed = 0;
	for (int i = 0; i < 20; i++) {
		try {
			throw index;
		} catch (int outer) {
			CHECK(std::uncaught_exceptions() == 0);
			nap();
			try {
				try {
					throw std::to_string(index);
				} catch (const std::string &inner) {
					nap();
					CHECK(inner == std::to_string(outer));
					throw;
				}
			} catch (const std::string &inner) {
				nap();
				CHECK(inner == std::to_string(index));
			}
			CHECK(outer == index);
			passed++;
		}
	}
	return passed;
}

int main()
{
	int unwound = 0;
	try {
		deep(10, unwound);
	} catch (const std::runtime_error &error) {
		std::printf("caught %s, %d frames unwound\n", error.what(), unwound);
	}

	std::vector<std::future<int>> futures;
	for (int i = 0; i < 16; i++)
		futures.push_back(std::async(std::launch::async, throws_in_a_catch, i));
	int passed = 0;
	for (auto &future : futures)
		passed += future.get();
	std::printf("%d catches\n", passed);

	std::exception_ptr carried;
	std::thread thrower([&] {
		try {
			int count = 0;
			deep(3, count);
		} catch (...) {
			nap();
			carried = std::current_exception();
		}
	});
	thrower.join();
	try {
		std::rethrow_exception(carried);
	} catch (const std::exception &error) {
		std::printf("carried over: %s\n", error.what());
	}

	std::promise<int> promise;
	auto answer = promise.get_future();
	std::thread breaker([promise = std::move(promise)]() mutable {
		nap();
		promise.set_exception(std::make_exception_ptr(std::out_of_range("broken")));
	});
	try {
		answer.get();
	} catch (const std::out_of_range &error) {
		std::printf("promise: %s\n", error.what());
	}
	breaker.join();
	return 0;
}
