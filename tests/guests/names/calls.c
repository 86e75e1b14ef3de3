// Every call that looks a name up, from many threads at once: all get the same answers.
// guest: compile=-lresolv
#include "../net.h"
#include <arpa/nameser.h>
#include <grp.h>
#include <netdb.h>
#include <pwd.h>
#include <resolv.h>

enum { THREADS = 12 };

static const char *text_of(int family, const void *bytes)
{
	static _Thread_local char text[INET6_ADDRSTRLEN];
	return inet_ntop(family, bytes, text, sizeof text);
}

static void info(FILE *out, const char *name, int family, int flags)
{
	struct addrinfo hints = { .ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = flags };
	struct addrinfo *found;
	int count = 0, error = getaddrinfo(name, "https", &hints, &found);
	fprintf(out, "getaddrinfo %s: %s", name, error ? gai_strerror(error) : "found");
	if (error == EAI_SYSTEM)
		fprintf(out, " (%s)", strerrorname_np(errno));
	for (struct addrinfo *one = error ? NULL : found; one; one = one->ai_next, count++) {
		bool six = one->ai_family == AF_INET6;
		if (one->ai_canonname)
			fprintf(out, " canonical %s", one->ai_canonname);
		if (count < 3)
			fprintf(out, " %s",
				text_of(one->ai_family,
					six ? (void *)&((struct sockaddr_in6 *)one->ai_addr)->sin6_addr :
					      (void *)&((struct sockaddr_in *)one->ai_addr)->sin_addr));
	}
	fprintf(out, ", %d in all\n", count);
	if (!error)
		freeaddrinfo(found);
}

static void entry(FILE *out, const char *call, const char *what, const struct hostent *host, int error)
{
	if (!host) {
		fprintf(out, "%s %s: h_errno %d\n", call, what, error);
		return;
	}
	fprintf(out, "%s %s: %s", call, what, host->h_name);
	for (char **alias = host->h_aliases; *alias; alias++)
		fprintf(out, " alias %s", *alias);
	for (char **address = host->h_addr_list; *address; address++)
		fprintf(out, " %s", text_of(host->h_addrtype, *address));
	fputc('\n', out);
}

static void by_name(FILE *out, const char *name, int family, size_t room)
{
	char buffer[room], what[200];
	struct hostent host, *found = NULL;
	int error = 0, result = gethostbyname2_r(name, family, &host, buffer, room, &found, &error);
	snprintf(what, sizeof what, "%s (%s)", name, result ? strerrorname_np(result) : "0");
	entry(out, "gethostbyname2_r", what, found, error);
	result = gethostbyname_r(name, &host, buffer, room, &found, &error);
	snprintf(what, sizeof what, "%s (%s)", name, result ? strerrorname_np(result) : "0");
	entry(out, "gethostbyname_r", what, found, error);
}

static void by_address(FILE *out, const char *text)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(443) };
	char buffer[2000], name[200], service[50];
	struct hostent host, *found = NULL;
	int error = 0;
	IS(inet_pton(AF_INET, text, &address.sin_addr), 1);
	IS(gethostbyaddr_r(&address.sin_addr, 4, AF_INET, &host, buffer, sizeof buffer, &found, &error), 0);
	entry(out, "gethostbyaddr_r", text, found, error);
	error = getnameinfo((struct sockaddr *)&address, sizeof address, name, sizeof name, service,
			    sizeof service, NI_NAMEREQD);
	fprintf(out, "getnameinfo %s: %s %s\n", text, error ? gai_strerror(error) : name,
		error ? "" : service);
}

static void query(FILE *out, const char *name, int type)
{
	unsigned char answer[4000];
	int length = res_query(name, ns_c_in, type, answer, sizeof answer);
	fprintf(out, "res_query %s: ", name);
	ns_msg message;
	ns_rr record;
	if (length < 0) {
		fprintf(out, "h_errno %d\n", h_errno);
		return;
	}
	IS(ns_initparse(answer, length, &message), 0);
	IS(ns_parserr(&message, ns_s_an, 0, &record), 0);
	fprintf(out, "%d bytes of %d answers, the first of %d bytes\n", length,
		ns_msg_count(message, ns_s_an), ns_rr_rdlen(record));
	length = res_search(name, ns_c_in, type, answer, sizeof answer);
	fprintf(out, "res_search %s: %d\n", name, length);
}

static void users(FILE *out)
{
	char buffer[4000];
	struct passwd user, *who = NULL;
	struct group group, *which = NULL;
	IS(getpwnam_r("root", &user, buffer, sizeof buffer, &who), 0);
	fprintf(out, "getpwnam_r root: %s %d\n", who ? who->pw_dir : "none", who ? (int)who->pw_uid : -1);
	IS(getpwnam_r("nobody-of-this-name", &user, buffer, sizeof buffer, &who), 0);
	fprintf(out, "getpwnam_r: %s\n", who ? "found" : "none");
	IS(getgrnam_r("root", &group, buffer, sizeof buffer, &which), 0);
	fprintf(out, "getgrnam_r root: %d\n", which ? (int)which->gr_gid : -1);
	IS(getpwnam_r("root", &user, buffer, 3, &who), ERANGE);
}

static void *body(void *unused)
{
	size_t length;
	char *text;
	FILE *out = open_memstream(&text, &length);
	(void)unused;
	info(out, "h1.test", AF_INET, 0);
	info(out, "h2.delay-20.test", AF_UNSPEC, 0);
	info(out, "h3.test", AF_INET6, AI_CANONNAME);
	info(out, "h4.alias.test", AF_INET, AI_CANONNAME);
	info(out, "h5.truncated.test", AF_UNSPEC, 0);
	info(out, "h6.large.test", AF_INET, 0);
	info(out, "h7.large.alias.test", AF_UNSPEC, AI_CANONNAME);
	info(out, "h8.missing.test", AF_INET, 0);
	info(out, "h9.empty.test", AF_UNSPEC, 0);
	info(out, "h10.failing.test", AF_INET, 0);
	info(out, "h11", AF_INET, AI_CANONNAME);
	info(out, "h12.void", AF_INET, 0);
	info(out, "h13.sub", AF_INET, AI_CANONNAME);
	info(out, "nowhere.", AF_INET, 0);
	info(out, "written", AF_INET, AI_CANONNAME);
	info(out, "written.down", AF_UNSPEC, 0);
	info(out, "localhost", AF_UNSPEC, 0);
	info(out, "b\303\274cher.test", AF_INET, AI_IDN | AI_CANONNAME);
	by_name(out, "h14.test", AF_INET, 2000);
	by_name(out, "h15.alias.test", AF_INET6, 2000);
	by_name(out, "h16.large.test", AF_INET, 6000);
	by_name(out, "h17.test", AF_INET, 40);
	by_name(out, "h18.missing.test", AF_INET, 2000);
	by_name(out, "h19.empty.test", AF_INET, 2000);
	by_name(out, "written", AF_INET, 2000);
	by_address(out, "10.0.1.20");
	by_address(out, "192.0.2.1");
	query(out, "h21.test", ns_t_mx);
	query(out, "h22.truncated.test", ns_t_txt);
	query(out, "h23.large.test", ns_t_aaaa);
	query(out, "h24.missing.test", ns_t_txt);
	query(out, "h25.empty.test", ns_t_txt);
	users(out);
	fclose(out);
	return text;
}

int main(void)
{
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		threads[i] = start(body, NULL);
	char *first = join(threads[0]);
	for (int i = 1; i < THREADS; i++) {
		char *text = join(threads[i]);
		if (strcmp(first, text))
			printf("differs:\n%s", text);
		free(text);
	}
	fputs(first, stdout);
	free(first);

	/* Those that share one answer among all threads. */
	entry(stdout, "gethostbyname", "h30.test", gethostbyname("h30.test"), h_errno);
	entry(stdout, "gethostbyname2", "h31.test", gethostbyname2("h31.test", AF_INET6), h_errno);
	entry(stdout, "gethostbyname", "h32.missing.test", gethostbyname("h32.missing.test"), h_errno);
	struct in_addr address = { htonl(0x0a000121) };
	entry(stdout, "gethostbyaddr", "10.0.1.33", gethostbyaddr(&address, 4, AF_INET), h_errno);
	return 0;
}
