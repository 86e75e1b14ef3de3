// A thread is cancelled while it waits for a server; another looks names up meanwhile and after.
#include "../net.h"
#include <netdb.h>
#include <semaphore.h>

static atomic_int cleaned;
static sem_t asked;

static void clean(void *by)
{
	atomic_fetch_add(&cleaned, *(int *)by);
}

static void *waits(void *unused)
{
	struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *found;
	int by = 5;
	(void)unused;
	pthread_cleanup_push(clean, &by);
	sem_post(&asked);
	getaddrinfo("h1.lost-100.test", NULL, &hints, &found);
	pthread_cleanup_pop(0);
	return NULL;
}

static void *asks(void *canceled)
{
	struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *found;
	IS(sem_wait(&asked), 0);
	for (int i = 0; i < 3; i++) {
		IS(getaddrinfo("h2.delay-50.test", NULL, &hints, &found), 0);
		freeaddrinfo(found);
	}
	OK(pthread_cancel(*(pthread_t *)canceled));
	IS(getaddrinfo("h3.delay-50.test", NULL, &hints, &found), 0);
	freeaddrinfo(found);
	return NULL;
}

int main(void)
{
	IS(sem_init(&asked, 0, 0), 0);
	pthread_t waiting = start(waits, NULL);
	pthread_t asking = start(asks, &waiting);
	printf("cancelled: %d\n", join(waiting) == PTHREAD_CANCELED);
	printf("cleaned: %d\n", atomic_load(&cleaned));
	join(asking);
	return 0;
}
