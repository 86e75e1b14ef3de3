// Threads open and close libraries at once; the loader's lock and thread-local storage hold.
#include "guest.h"
#include <dlfcn.h>

static void *body(void *unused)
{
	(void)unused;
	for (int i = 0; i < 20; i++) {
		void *math = dlopen("libm.so.6", RTLD_NOW | RTLD_LOCAL);
		CHECK(math != NULL);
		double (*cosine)(double);
		*(void **)&cosine = dlsym(math, "cos");
		CHECK(cosine != NULL && cosine(0) == 1);
		sched_yield();
		IS(dlclose(math), 0);
		CHECK(dlopen("/nonexistent.so", RTLD_NOW) == NULL);
		CHECK(strstr(dlerror(), "nonexistent") != NULL); /* each thread has its own message */
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[10];
	for (int i = 0; i < 10; i++)
		threads[i] = start(body, NULL);
	for (int i = 0; i < 10; i++)
		join(threads[i]);
	puts("opened and closed");
	return 0;
}
