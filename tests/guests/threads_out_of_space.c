// Threads that can't have a stack: pthread_create answers EAGAIN and the program goes on.
#include "guest.h"

static void *body(void *argument)
{
	return argument;
}

int main(void)
{
	pthread_t thread;
	pthread_attr_t attributes;
	join(start(body, NULL));
	OK(pthread_attr_init(&attributes));
	OK(pthread_attr_setstacksize(&attributes, (size_t)1 << 47));
	IS(pthread_create(&thread, &attributes, body, NULL), EAGAIN);
	OK(pthread_attr_setstacksize(&attributes, 1 << 20));
	OK(pthread_create(&thread, &attributes, body, "made"));
	puts(join(thread));
	return 0;
}
