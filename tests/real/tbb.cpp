// Intel's TBB: loops, reductions, a sort, a pipeline, a task group and a concurrent map.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <numeric>
#include <tbb/concurrent_hash_map.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/parallel_pipeline.h>
#include <tbb/parallel_reduce.h>
#include <tbb/parallel_sort.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>
#include <vector>

static void everything()
{
	std::vector<unsigned> numbers(200000);
	tbb::parallel_for(size_t(0), numbers.size(),
			  [&](size_t i) { numbers[i] = unsigned(i) * 2654435761u; });
	unsigned long sum = tbb::parallel_reduce(
		tbb::blocked_range<size_t>(0, numbers.size()), 0ul,
		[&](const tbb::blocked_range<size_t> &range, unsigned long part) {
			return std::accumulate(numbers.begin() + range.begin(),
					       numbers.begin() + range.end(), part);
		},
		std::plus<unsigned long>());
	tbb::parallel_sort(numbers.begin(), numbers.end());
	std::printf("sum %lu, sorted %d\n", sum, std::is_sorted(numbers.begin(), numbers.end()));

	int next = 0, in_order = 0;
	tbb::parallel_pipeline(
		8, tbb::make_filter<void, int>(tbb::filter_mode::serial_in_order,
					       [&](tbb::flow_control &control) {
						       if (next == 1000)
							       control.stop();
						       return next++;
					       }) &
			   tbb::make_filter<int, int>(tbb::filter_mode::parallel,
						      [](int i) { return i * i; }) &
			   tbb::make_filter<int, void>(tbb::filter_mode::serial_in_order, [&](int i) {
				   in_order += i == in_order * in_order;
			   }));
	std::printf("%d through the pipeline in order\n", in_order);

	std::atomic<int> ran{ 0 };
	tbb::task_group group;
	for (int i = 0; i < 500; i++)
		group.run([&] {
			ran++;
			if (ran % 5 == 0)
				group.run([&] { ran++; });
		});
	group.wait();
	tbb::concurrent_hash_map<int, int> counts;
	tbb::parallel_for(0, 20000, [&](int i) {
		tbb::concurrent_hash_map<int, int>::accessor at;
		counts.insert(at, i % 97);
		at->second++;
	});
	int counted = 0;
	for (auto &entry : counts)
		counted += entry.second;
	std::printf("%d tasks at least, %zu keys, %d counted\n", ran >= 500, counts.size(), counted);
}

int main()
{
	tbb::global_control threads(tbb::global_control::max_allowed_parallelism, 8);
	everything();
	tbb::task_arena arena(6);
	arena.execute(everything);
	try {
		tbb::parallel_for(0, 1000, [](int i) {
			if (i == 700)
				throw 700;
		});
	} catch (int thrown) {
		std::printf("caught %d\n", thrown);
	}
	return 0;
}
