// A terminal: reads of a pty's both sides park alone, lines arrive whole, hang-up ends them.
#include "guest.h"
#include <fcntl.h>
#include <termios.h>

static int master, slave;

static void type_line(void *unused)
{
	(void)unused;
	IS(write(master, "typed\n", 6), 6);
}

static void answer(void *unused)
{
	(void)unused;
	IS(write(slave, "ok", 2), 2);
}

int main(void)
{
	struct release release;
	struct termios raw;
	char text[64];
	master = posix_openpt(O_RDWR | O_NOCTTY);
	if (master < 0) {
		puts("no terminals here");
		return 0;
	}
	IS(grantpt(master), 0);
	IS(unlockpt(master), 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	CHECK(slave >= 0);
	IS(tcgetattr(slave, &raw), 0);
	raw.c_lflag &= ~(tcflag_t)ECHO;
	raw.c_oflag = 0;
	IS(tcsetattr(slave, TCSANOW, &raw), 0);

	release_start(&release, type_line, NULL);
	IS(read(slave, text, sizeof text), 6);
	release_check(&release, "read of a terminal");
	CHECK(!memcmp(text, "typed\n", 6));
	release_start(&release, answer, NULL);
	IS(read(master, text, sizeof text), 2);
	release_check(&release, "read of its other side");
	IS(close(slave), 0);
	FAILS(read(master, text, 1), EIO);
	return 0;
}
