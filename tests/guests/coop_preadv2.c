// preadv2 and pwritev2 of a pipe, at no offset, block their own thread only; RWF_NOWAIT does not block.
#include "net.h"

static int ends[2];
static char block[1 << 16];

static void write_abc(void *unused)
{
	(void)unused;
	IS(write(ends[1], "abc", 3), 3);
}

static void drain(void *unused)
{
	static char sink[1 << 16];
	int left;
	(void)unused;
	do {
		CHECK(read(ends[0], sink, sizeof sink) > 0);
		IS(ioctl(ends[0], FIONREAD, &left), 0);
	} while (left > 0);
}

int main(void)
{
	char text[64];
	struct iovec into[2] = { { text, 2 }, { text + 2, 60 } };
	struct iovec from[2] = { { block, 10 }, { block, 20 } };
	IS(pipe(ends), 0);
	BLOCKS("preadv2", write_abc, NULL, 3, preadv2(ends[0], into, 2, -1, 0));
	CHECK(!memcmp(text, "abc", 3));
	FAILS(preadv2(ends[0], into, 2, -1, RWF_NOWAIT), EAGAIN);
	FAILS(preadv2(ends[0], into, 2, 5, 0), ESPIPE);
	while (true) {
		struct iovec most = { block, sizeof block };
		if (pwritev2(ends[1], &most, 1, -1, RWF_NOWAIT) < 0)
			break;
	}
	CHECK(errno == EAGAIN);
	BLOCKS("pwritev2", drain, NULL, 30, pwritev2(ends[1], from, 2, -1, 0));
	return 0;
}
