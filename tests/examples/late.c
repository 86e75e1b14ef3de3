/* The library is opened when the program has threads already: it says so on standard error,
 * they stay kernel threads, and greenlets run beside them. argv[1] is its path. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

static pthread_barrier_t gate;

static int (*is_guest)(void);

static void *waits(void *unused) {
    pthread_barrier_wait(&gate);
    pthread_barrier_wait(&gate);
    printf("the old thread is a guest: %d\n", is_guest());
    return unused;
}

static void *answer(void *unused) {
    (void)unused;
    return is_guest() ? "a guest ran it" : "a kernel thread ran it";
}

int main(int argc, char **argv) {
    pthread_t thread;
    (void)argc;
    pthread_barrier_init(&gate, NULL, 2);
    pthread_create(&thread, NULL, waits, NULL);
    pthread_barrier_wait(&gate);
    void *library = dlopen(argv[1], RTLD_NOW);
    if (library == NULL) {
        printf("%s\n", dlerror());
        return 1;
    }
    int (*patch_all)(void) = (int (*)(void))dlsym(library, "gevent_patch_all");
    int (*hub)(void *) = (int (*)(void *))dlsym(library, "gevent_hub");
    int (*spawn)(void *(*)(void *), void *, void **) =
        (int (*)(void *(*)(void *), void *, void **))dlsym(library, "gevent_spawn");
    int (*join)(void *, double) = (int (*)(void *, double))dlsym(library, "gevent_join");
    int (*result)(void *, void **) = (int (*)(void *, void **))dlsym(library, "gevent_result");
    is_guest = (int (*)(void))dlsym(library, "gevent_is_guest");
    printf("patched: %d\n", patch_all() == 0);
    printf("hub: %d\n", hub(NULL));
    void *greenlet, *value = NULL;
    spawn(answer, NULL, &greenlet);
    join(greenlet, -1);
    result(greenlet, &value);
    printf("%s\n", (char *)value);
    pthread_barrier_wait(&gate);
    pthread_join(thread, NULL);
}
/* Output:
patched: 1
hub: 1
a guest ran it
the old thread is a guest: 0
*/
