// Whether a word is shared with other processes follows every change of the mappings: a wake of theirs arrives, and the end of a thread on a stack there does.
// guest: limit=60
#include "guest.h"
#include <linux/futex.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { PAGE = 4096, PAGES = 96, STACK = 8, STEPS = 600, SEGMENT = 4, APART = 150 };

enum kind { NOTHING, PRIVATE, FILE_PAGE, SEGMENT_PAGE };

static struct { enum kind kind; int at; } model[PAGES];
static char *arena;
static int file, segment, to_helper, from_helper;
static unsigned random_state = 1;

static int pick(int below)
{
	random_state = random_state * 1103515245 + 12345;
	return (int)(random_state >> 16) % below;
}

static char *page(int number)
{
	return arena + (size_t)number * PAGE;
}

static long futex(void *word, int op, int value)
{
	return syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

struct order { enum kind kind; int at; };

/* Another process, which adds one to the first word of a page and wakes its waiter. */
static void helper(int orders, int answers)
{
	char *of_file = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	char *of_segment = shmat(segment, NULL, 0);
	struct order order;
	CHECK(of_file != MAP_FAILED && of_segment != (void *)-1);
	while (read(orders, &order, sizeof order) == sizeof order) {
		char *from = order.kind == FILE_PAGE ? of_file : of_segment;
		atomic_int *word = (atomic_int *)(from + (size_t)order.at * PAGE);
		atomic_fetch_add(word, 1);
		while (futex(word, FUTEX_WAKE, 1) != 1)
			usleep(100);
		IS(write(answers, "", 1), 1);
	}
	_exit(0);
}

static void *waits(void *word)
{
	int value = *(atomic_int *)word;
	struct order order = { 0 };
	int number = (int)((char *)word - arena) / PAGE;
	order.kind = model[number].kind;
	order.at = model[number].at;
	IS(write(to_helper, &order, sizeof order), sizeof order);
	long ret = futex(word, FUTEX_WAIT, value);
	/* The helper wakes until somebody is there; where the word had changed already, wait
	   for what it is now. */
	if (ret == -1 && errno == EAGAIN)
		IS(futex(word, FUTEX_WAIT, value + 1), 0);
	else
		IS(ret, 0);
	char answer;
	IS(read(from_helper, &answer, 1), 1);
	return NULL;
}

static void *ends(void *unused)
{
	return unused;
}

/* The page does what the model says of it. */
static void check(int number)
{
	pthread_t thread;
	pthread_attr_t attributes;
	switch (model[number].kind) {
	case NOTHING:
		FAILS(futex(page(number), FUTEX_WAIT, 0), EFAULT);
		break;
	case PRIVATE:
		for (int i = number; i < number + STACK; i++)
			if (i >= PAGES || model[i].kind != PRIVATE)
				return;
		OK(pthread_attr_init(&attributes));
		OK(pthread_attr_setstack(&attributes, page(number), STACK * PAGE));
		OK(pthread_create(&thread, &attributes, ends, NULL));
		OK(pthread_join(thread, NULL));
		OK(pthread_attr_destroy(&attributes));
		break;
	default:
		OK(pthread_create(&thread, NULL, waits, page(number)));
		OK(pthread_join(thread, NULL));
	}
}

static void set(int from, int count, enum kind kind, int at)
{
	for (int i = 0; i < count; i++) {
		model[from + i].kind = kind;
		model[from + i].at = at + i;
	}
}

/* Nobody else may get memory where there is none now. */
static void keep(int from, int count)
{
	CHECK(mmap(page(from), (size_t)count * PAGE, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == page(from));
	set(from, count, NOTHING, 0);
}

static bool is_one_mapping(int from, int count)
{
	for (int i = 0; i < count; i++)
		if (model[from + i].kind != model[from].kind
		    || (model[from].kind > PRIVATE && model[from + i].at != model[from].at + i))
			return false;
	return model[from].kind != NOTHING;
}

static void change(void)
{
	int count = 1 + pick(12), from = pick(PAGES - count), to = pick(PAGES - count);
	int at = pick(PAGES - count);
	switch (pick(6)) {
	case 0:
	case 1:
		CHECK(mmap(page(from), (size_t)count * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			   file, at * PAGE) == page(from));
		set(from, count, FILE_PAGE, at);
		break;
	case 2:
		CHECK(mmap(page(from), (size_t)count * PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page(from));
		set(from, count, PRIVATE, 0);
		break;
	case 3:
		IS(munmap(page(from), (size_t)count * PAGE), 0);
		keep(from, count);
		break;
	case 4:
		/* To another place, where there is no overlap. */
		if ((from < to + count && to < from + count) || !is_one_mapping(from, count)
		    || model[from].kind == SEGMENT_PAGE)
			break;
		/* Of private memory of several mappings older kernels move none. */
		if (mremap(page(from), (size_t)count * PAGE, (size_t)count * PAGE,
			   MREMAP_MAYMOVE | MREMAP_FIXED, page(to)) == MAP_FAILED) {
			CHECK(errno == EFAULT && model[from].kind == PRIVATE);
			IS(munmap(page(to), (size_t)count * PAGE), 0);
			keep(to, count);
			break;
		}
		set(to, count, model[from].kind, model[from].at);
		keep(from, count);
		break;
	default:
		if (from + SEGMENT > PAGES)
			break;
		if (model[from].kind == SEGMENT_PAGE && model[from].at == 0
		    && is_one_mapping(from, SEGMENT)) {
			IS(shmdt(page(from)), 0);
			keep(from, SEGMENT);
		} else if (shmat(segment, page(from), SHM_REMAP) == page(from)) {
			set(from, SEGMENT, SEGMENT_PAGE, 0);
		}
	}
}

int main(void)
{
	int orders[2], answers[2];
	file = memfd_create("pages", 0);
	IS(ftruncate(file, PAGES * PAGE), 0);
	segment = shmget(IPC_PRIVATE, SEGMENT * PAGE, 0600);
	CHECK(segment >= 0);
	IS(pipe(orders) | pipe(answers), 0);
	pid_t child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		close(orders[1]);
		helper(orders[0], answers[1]);
	}
	to_helper = orders[1];
	from_helper = answers[0];
	arena = mmap(NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(arena != MAP_FAILED);
	/* Half of the mappings are there before the first thread. */
	for (int i = 0; i < STEPS / 2; i++)
		change();
	for (int i = 0; i < PAGES; i++)
		check(i);
	puts("as before the first thread");
	for (int i = 0; i < STEPS; i++) {
		change();
		check(pick(PAGES));
	}
	for (int i = 0; i < PAGES; i++)
		check(i);
	puts("as after each change");

	/* Far more mappings than anybody keeps in a table of fixed size. */
	static char *apart[APART];
	for (int i = 0; i < APART; i++) {
		apart[i] = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
		CHECK(apart[i] != MAP_FAILED);
		IS(munmap(apart[i] + PAGE, PAGE), 0);
	}
	pthread_t thread;
	for (int i = 0; i < 20; i++) {
		OK(pthread_create(&thread, NULL, ends, NULL));
		OK(pthread_join(thread, NULL));
	}
	puts("joined");
	close(orders[1]);
	int status;
	IS(waitpid(child, &status, 0), child);
	IS(shmctl(segment, IPC_RMID, NULL), 0);
	printf("helper %d\n", status);
	return 0;
}
