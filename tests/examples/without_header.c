/* The interface without its header and without linking: by name alone, where the library is
 * preloaded, or opened from the path in argv[1]. */
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

static void *library;

/* A function of the library by its name. */
static void *named(const char *name) {
    void *function = dlsym(library, name);
    if (function == NULL) {
        printf("%s\n", dlerror());
        _exit(1);
    }
    return function;
}

static int order[4], next;

static void *sleeper(void *number) {
    usleep((int)(long)number * 20000); /* libc's own */
    order[next++] = (int)(long)number;
    return number;
}

int main(int argc, char **argv) {
    library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : RTLD_DEFAULT;
    if (argc > 1 && library == NULL) {
        printf("%s\n", dlerror());
        return 1;
    }
    int (*patch_all)(void) = (int (*)(void))named("gevent_patch_all");
    int (*spawn)(void *(*)(void *), void *, void **) =
        (int (*)(void *(*)(void *), void *, void **))named("gevent_spawn");
    int (*joinall)(void *const *, size_t, double) =
        (int (*)(void *const *, size_t, double))named("gevent_joinall");
    int (*result)(void *, void **) = (int (*)(void *, void **))named("gevent_result");
    int (*hub)(void *) = (int (*)(void *))named("gevent_hub");
    void (*release)(void *) = (void (*)(void *))named("gevent_greenlet_free");
    void *greenlets[3], *value;
    int patched = patch_all();
    printf("patched: %d, hub: %d\n", patched, hub(NULL));
    for (long i = 3; i > 0; i--)
        spawn(sleeper, (void *)i, &greenlets[i - 1]);
    int joined = joinall(greenlets, 3, 60);
    printf("joined: %d, in the order %d %d %d\n", joined, order[0], order[1], order[2]);
    for (int i = 0; i < 3; i++) {
        int known = result(greenlets[i], &value);
        printf("%d %ld\n", known, (long)value);
        release(greenlets[i]);
    }
}
/* Output:
patched: 0, hub: 1
joined: 3, in the order 1 2 3
0 1
0 2
0 3
*/
