// The program's first thread is made by the constructor of an object that is being opened.
// guest: object=thread_in_constructor compile=-ldl
#include "guest.h"
#include <dlfcn.h>

int main(int count, char **arguments)
{
	CHECK(count == 2);
	void *object = dlopen(arguments[1], RTLD_NOW);
	CHECK(object != NULL);
	int *joined = dlsym(object, "joined");
	CHECK(joined != NULL && *joined);
	puts("joined in the constructor");
	return 0;
}
