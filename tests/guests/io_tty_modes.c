// A raw terminal: reads end by VMIN and VTIME, in all their combinations; other threads run meanwhile.
#include "guest.h"
#include <fcntl.h>
#include <termios.h>

static int master, slave;

static void set_mode(int min, int time)
{
	struct termios raw;
	IS(tcgetattr(slave, &raw), 0);
	cfmakeraw(&raw);
	raw.c_cc[VMIN] = (cc_t)min;
	raw.c_cc[VTIME] = (cc_t)time;
	IS(tcsetattr(slave, TCSANOW, &raw), 0);
}

static void type_one(void *unused)
{
	(void)unused;
	IS(write(master, "a", 1), 1);
}

/* In pieces, with a pause that is shorter than a tenth of a second is not needed: VTIME is long or zero. */
static void type_four(void *unused)
{
	(void)unused;
	for (int i = 0; i < 4; i++) {
		IS(write(master, "abcd" + i, 1), 1);
		sleep_ms(2);
	}
}

#define BLOCKS(name, action, expected, call)                                                       \
	do {                                                                                       \
		struct release release;                                                            \
		release_start(&release, action, NULL);                                             \
		IS(call, expected);                                                                \
		release_check(&release, name);                                                     \
	} while (0)

static void *body(void *unused)
{
	struct ticker ticker;
	char text[64];
	(void)unused;
	set_mode(0, 0);
	IS(read(slave, text, sizeof text), 0);
	type_one(NULL);
	IS(read(slave, text, sizeof text), 1);
	puts("VMIN 0 VTIME 0");

	set_mode(0, 3);
	ticker_start(&ticker);
	int64_t before = now_ns(CLOCK_MONOTONIC);
	IS(read(slave, text, sizeof text), 0);
	CHECK(now_ns(CLOCK_MONOTONIC) - before >= 250 * MS);
	ticker_check(&ticker, "VMIN 0 VTIME 3");
	set_mode(0, 200);
	BLOCKS("VMIN 0 VTIME 200", type_one, 1, read(slave, text, sizeof text));

	set_mode(4, 0);
	BLOCKS("VMIN 4 VTIME 0", type_four, 4, read(slave, text, sizeof text));
	CHECK(!memcmp(text, "abcd", 4));
	BLOCKS("VMIN 4 VTIME 0 and a short read", type_one, 1, read(slave, text, 1));

	set_mode(4, 200);
	BLOCKS("VMIN 4 VTIME 200", type_four, 4, read(slave, text, sizeof text));
	set_mode(4, 3);
	ticker_start(&ticker);
	type_one(NULL);
	before = now_ns(CLOCK_MONOTONIC);
	IS(read(slave, text, sizeof text), 1); /* the second byte is late */
	CHECK(now_ns(CLOCK_MONOTONIC) - before >= 250 * MS);
	ticker_check(&ticker, "VMIN 4 VTIME 3");
	set_mode(1, 0);
	BLOCKS("VMIN 1 VTIME 0", type_one, 1, read(slave, text, sizeof text));
	return NULL;
}

int main(void)
{
	master = posix_openpt(O_RDWR | O_NOCTTY);
	if (master < 0) {
		puts("no terminals here");
		return 0;
	}
	IS(grantpt(master), 0);
	IS(unlockpt(master), 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	CHECK(slave >= 0);
	body(NULL);
	join(start(body, NULL));
	return 0;
}
