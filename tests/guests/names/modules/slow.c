// A name service of its own, as sssd's is: a module that libc opens at the first look-up and that
// waits on a socket for its answers.
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <nss.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// Every host is 10.7.7.7, after a moment.
enum nss_status _nss_slow_gethostbyname2_r(const char *name, int family, struct hostent *host,
					   char *buffer, size_t room, int *error, int *h_error)
{
	struct timespec moment = { .tv_nsec = 20000000 };
	static const unsigned char address[4] = { 10, 7, 7, 7 };
	size_t length = strlen(name) + 1;
	char **list = (char **)buffer;
	int ends[2];
	char answer[4];
	if (family != AF_INET) {
		*h_error = NO_DATA;
		return NSS_STATUS_NOTFOUND;
	}
	if (room < 3 * sizeof *list + sizeof address + length) {
		*error = ERANGE;
		*h_error = NETDB_INTERNAL;
		return NSS_STATUS_TRYAGAIN;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
		return NSS_STATUS_UNAVAIL;
	struct pollfd ready = { .fd = ends[0], .events = POLLIN };
	poll(&ready, 1, 20);
	nanosleep(&moment, NULL);
	if (write(ends[1], address, 4) != 4 || read(ends[0], answer, 4) != 4)
		return NSS_STATUS_UNAVAIL;
	close(ends[0]);
	close(ends[1]);
	list[0] = (char *)(list + 3);
	list[1] = list[2] = NULL;
	memcpy(list[0], answer, 4);
	host->h_name = memcpy(list[0] + 4, name, length);
	host->h_aliases = list + 1;
	host->h_addrtype = AF_INET;
	host->h_length = 4;
	host->h_addr_list = list;
	*h_error = NETDB_SUCCESS;
	return NSS_STATUS_SUCCESS;
}
