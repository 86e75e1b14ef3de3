// getaddrinfo and getnameinfo in many threads: localhost, numeric, services, and a name that can't be.
#include "net.h"
#include <netdb.h>

static void *body(void *unused)
{
	struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *found;
	(void)unused;
	for (int i = 0; i < 20; i++) {
		IS(getaddrinfo("localhost", "80", &hints, &found), 0);
		struct sockaddr_in *address = (struct sockaddr_in *)found->ai_addr;
		CHECK(address->sin_addr.s_addr == htonl(INADDR_LOOPBACK));
		CHECK(address->sin_port == htons(80));
		char host[100], service[32];
		IS(getnameinfo(found->ai_addr, found->ai_addrlen, host, sizeof host, service,
			       sizeof service, NI_NUMERICHOST | NI_NUMERICSERV), 0);
		CHECK(!strcmp(host, "127.0.0.1") && !strcmp(service, "80"));
		freeaddrinfo(found);
		hints.ai_flags = AI_NUMERICHOST;
		IS(getaddrinfo("192.0.2.7", "443", &hints, &found), 0);
		freeaddrinfo(found);
		IS(getaddrinfo("not numeric", "443", &hints, &found), EAI_NONAME);
		hints.ai_flags = 0;
		hints.ai_family = AF_INET6;
		IS(getaddrinfo("::1", NULL, &hints, &found), 0);
		freeaddrinfo(found);
		hints.ai_family = AF_INET;
		IS(getaddrinfo("localhost", "no-such-service-here", &hints, &found), EAI_SERVICE);
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[20];
	for (int i = 0; i < 20; i++)
		threads[i] = start(body, NULL);
	for (int i = 0; i < 20; i++)
		join(threads[i]);
	puts("resolved");
	return 0;
}
